"""Does a request's score depend on what is asked beside it? Found by asking alone and together, not by a kind's name.

Sums in another order move a score of fp32 or of few-bit weights by some millionths. Activations that are quantized with
one scale for the whole batch, or whose outliers are looked for over all of it, move it by as much as the kind loses.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Literal

from evaluation.token_scores import Pair, TokenScore

LIMIT_NATS = 1e-3
"""Above it a model is asked one request at a time, and is not to be served in batches."""

PROBES = (
    ("The still", " drips slowly into a copper pot."),
    ("Water, malt and yeast are three things. The fourth that a distiller needs is", " patience"),
    ("Question: Which of these melts first when it is heated?\nAnswer:", " butter"),
    (
        "A small model learns what a large one knows, though not all of it. It reads the same pages, and is told after "
        "every word how likely the large one took each word to be. What it cannot hold it has to leave out, and nobody "
        "tells it what that should be. Later it is asked what it has read, and it answers",
        " quickly, and mostly right.",
    ),
    ("12 + 30 =", " 42"),
    ("def double(number):\n    return", " 2 * number\n"),
)
"""Contexts and answers of several lengths, the same for every model."""


def limit_nats(precision: Literal["fp32", "bf16"]) -> float:
    """How far a score may move in a batch before requests are asked one by one.

    In bf16 as far as it likes: a logit between 16 and 32 is rounded to an eighth, so that sums in another order move a
    score by some tenths of a nat, and alone it is no truer than beside others.
    """
    return inf if precision == "bf16" else LIMIT_NATS


def measure_batch_dependence(score: Callable[[Sequence[Pair]], list[TokenScore]], pairs: Sequence[Pair]) -> float:
    """Return how far the log-probability of an answer moves, at most, when others are asked beside it, in nats."""
    together = score(pairs)
    alone = [score([pair])[0] for pair in pairs]
    return max(abs(one.log_prob - other.log_prob) for one, other in zip(together, alone, strict=True))
