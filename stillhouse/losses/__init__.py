"""Losses: pure functions of logits and labels, one a file, in nats per counted token; `chunked` does without logits."""

from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.losses.forward_kl import forward_kl
from stillhouse.losses.hidden_states import hidden_l1_and_cosine, hidden_mean_squared_error
from stillhouse.losses.jensen_shannon import jensen_shannon
from stillhouse.losses.reverse_kl import reverse_kl
from stillhouse.losses.sampled import sampled
from stillhouse.losses.skewed_forward_kl import skewed_forward_kl
from stillhouse.losses.skewed_reverse_kl import skewed_reverse_kl
from stillhouse.losses.taid import taid
from stillhouse.losses.top_k_with_tail import top_k_with_tail
from stillhouse.losses.total_variation import total_variation
from stillhouse.losses.universal_logit_distance import universal_logit_distance

__all__ = [
    "cross_entropy",
    "forward_kl",
    "hidden_l1_and_cosine",
    "hidden_mean_squared_error",
    "jensen_shannon",
    "reverse_kl",
    "sampled",
    "skewed_forward_kl",
    "skewed_reverse_kl",
    "taid",
    "top_k_with_tail",
    "total_variation",
    "universal_logit_distance",
]
