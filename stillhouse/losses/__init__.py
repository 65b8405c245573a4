"""Losses: pure functions of logits and labels, one a file, in nats per counted token."""

from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.losses.forward_kl import forward_kl
from stillhouse.losses.mixture import Mixture, mixture

__all__ = ["Mixture", "cross_entropy", "forward_kl", "mixture"]
