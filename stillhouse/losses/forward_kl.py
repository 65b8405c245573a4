"""Forward KL divergence from teacher to student."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted, mean_over_counted


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
        ValueError: If the two shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher logits must have one shape, got {tuple(student_logits.shape)} and "
            f"{tuple(teacher_logits.shape)}; for two tokenizers, align the vocabularies first"
        )
    mask = counted(labels)
    # A bf16 softmax over a vocabulary loses its tail, and positions that are not counted need no softmax at all.
    student = F.log_softmax(at_least_fp32(student_logits[mask]) / temperature, dim=-1)
    teacher = F.log_softmax(at_least_fp32(teacher_logits[mask]) / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * mean_over_counted(divergence)
