"""Forward KL to a student that is mixed with the teacher."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.shapes import check_share
from stillhouse.losses.softened import log_mixture, relative_entropy, softened


def skewed_forward_kl(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, skew: float = 0.1, temperature: float = 1.0
) -> Tensor:
    """KL(teacher || skew * teacher + (1 - skew) * student), times the temperature squared.

    With some of the teacher on both sides the ratio of the two is at most 1 / skew, so one token that the student
    all but rules out no longer decides the gradient (Ko et al., 2024, "DistiLLM"). A skew of 0 is `forward_kl`;
    values shrink as it grows, so compare them at one skew only.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        skew: Share of the first argument, the teacher, in the second, from 0 to 1.
        temperature: Softens both distributions, before they are mixed.

    Returns:
        Nats per counted token: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit or the skew is out of range.
    """
    check_share("skew", skew)
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    mixture = log_mixture(teacher, student, skew)
    divergence = relative_entropy(teacher, mixture)
    return temperature**2 * mean_over_counted(divergence)
