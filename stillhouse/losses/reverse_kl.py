"""Reverse KL divergence, from student to teacher."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.softened import relative_entropy, softened


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(student || teacher) in nats per counted token, times the temperature squared.

    The mode-seeking direction: the student is punished for giving probability to what the teacher finds unlikely,
    and may leave out what it cannot hold (Gu et al., 2024, "MiniLLM"). It reads the teacher's logarithm wherever
    the student has probability, so it needs the whole of the teacher's distribution.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        temperature: Softens both distributions.

    Returns:
        A scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit.
    """
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    divergence = relative_entropy(student, teacher)
    return temperature**2 * mean_over_counted(divergence)
