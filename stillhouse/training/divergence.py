"""The recipe's loss in its two forms: of whole logits, and in chunks of them."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor

from stillhouse import losses
from stillhouse.losses.chunked import divergences
from stillhouse.losses.chunked.divergences import Divergence
from stillhouse.recipe.losses import (
    ForwardKl,
    JensenShannon,
    Loss,
    ReverseKl,
    SkewedForwardKl,
    SkewedReverseKl,
    Taid,
    TotalVariation,
    UniversalLogitDistance,
)


class PlainLoss(Protocol):
    """A loss of `stillhouse.losses`, with its own numbers set."""

    def __call__(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = ...
    ) -> Tensor:
        """Mean over the counted tokens."""
        ...


@dataclass(frozen=True)
class Forms:
    """One divergence from a teacher whose whole distribution is known."""

    plain: PlainLoss
    """Of whole logits."""
    chunked: Divergence
    """The chunked form's arithmetic."""


def forms_of(loss: Loss, taid_t: float | None = None) -> Forms:
    """The forms of the recipe's loss; TAID's are made anew at each step, with the step's t."""
    match loss:
        case ForwardKl():
            return Forms(losses.forward_kl, divergences.forward_kl())
        case ReverseKl():
            return Forms(losses.reverse_kl, divergences.reverse_kl())
        case JensenShannon(beta=beta):
            return Forms(partial(losses.jensen_shannon, beta=beta), divergences.jensen_shannon(beta))
        case SkewedForwardKl(skew=skew):
            return Forms(partial(losses.skewed_forward_kl, skew=skew), divergences.skewed_forward_kl(skew))
        case SkewedReverseKl(skew=skew):
            return Forms(partial(losses.skewed_reverse_kl, skew=skew), divergences.skewed_reverse_kl(skew))
        case TotalVariation():
            return Forms(losses.total_variation, divergences.total_variation())
        case Taid():
            assert taid_t is not None
            return Forms(partial(losses.taid, t=taid_t), divergences.taid(taid_t))
        case UniversalLogitDistance():
            raise ValueError("universal_logit_distance compares two tokenizers, and the teacher has the student's")
