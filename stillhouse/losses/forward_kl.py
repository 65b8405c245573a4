"""Forward KL divergence from teacher to student."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.softened import relative_entropy, softened


def forward_kl(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) in nats per counted token, times the temperature squared.

    The mean-seeking direction: the student is punished for giving little probability to anything the teacher
    finds likely. The square keeps the size of the gradient independent of the temperature (Hinton et al., 2015,
    "Distilling the knowledge in a neural network"). The value is the divergence itself, not the cross-entropy
    that shares its gradient: of a model with itself it is 0.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        temperature: Softens both distributions.

    Returns:
        A scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit or the temperature is not positive.
    """
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    divergence = relative_entropy(teacher, student)
    return temperature**2 * mean_over_counted(divergence)
