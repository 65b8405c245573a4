"""Total variation distance."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.softened import softened


def total_variation(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Half the sum of |teacher - student|, times the temperature squared.

    The largest difference between the probabilities that the two give to any set of tokens: from 0 to 1 at
    temperature 1, symmetric, and no token weighs more than its probability. Not in nats. The square of the
    temperature is inside as in every loss here, but a distance fades with the temperature once, not twice: its
    gradient grows in proportion to the temperature, where a divergence's keeps its size.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        temperature: Softens both distributions.

    Returns:
        Mean over the counted tokens: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit.
    """
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    distance = 0.5 * (teacher.exp() - student.exp()).abs().sum(dim=-1)
    return temperature**2 * mean_over_counted(distance)
