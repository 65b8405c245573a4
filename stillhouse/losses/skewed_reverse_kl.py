"""Reverse KL to a teacher that is mixed with the student."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.shapes import check_share
from stillhouse.losses.softened import log_mixture, relative_entropy, softened


def skewed_reverse_kl(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, skew: float = 0.1, temperature: float = 1.0
) -> Tensor:
    """KL(student || skew * student + (1 - skew) * teacher), times the temperature squared.

    `reverse_kl` whose logarithm cannot run away where the teacher has next to no probability (Ko et al., 2024,
    "DistiLLM"). Gradients flow through the student on both sides, as in that paper; DistiLLM-2 holds the student
    in the mixture fixed, which is no longer the gradient of the value.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        skew: Share of the first argument, the student, in the second, from 0 to 1.
        temperature: Softens both distributions, before they are mixed.

    Returns:
        Nats per counted token: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit or the skew is out of range.
    """
    check_share("skew", skew)
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    mixture = log_mixture(student, teacher, skew)
    divergence = relative_entropy(student, mixture)
    return temperature**2 * mean_over_counted(divergence)
