"""Forward KL to a target that moves from the student to the teacher (TAID)."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.shapes import check_share
from stillhouse.losses.softened import finite, relative_entropy, softened


def taid(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, t: float, temperature: float = 1.0
) -> Tensor:
    """KL(target || student), times the temperature squared; the target's logits are `(1 - t) * student + t * teacher`.

    A student far below its teacher learns from something nearer first (Shing et al., 2025, "TAID"). The student in
    the target is held fixed: gradients flow through the second argument alone, so at t = 0 there is nothing to
    learn, and at t = 1 this is `forward_kl`. The value is the divergence, not the cross-entropy that the authors'
    code reports. What moves t from step to step is `stillhouse.training.schedules`.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        t: The teacher's share in the target's logits, from 0 to 1.
        temperature: Softens target and student.

    Returns:
        Nats per counted token: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit or t is out of range.
    """
    check_share("t", t)
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    target = interpolated(student.detach(), teacher, t)
    divergence = relative_entropy(target, student)
    return temperature**2 * mean_over_counted(divergence)


def interpolated(log_student: Tensor, log_teacher: Tensor, t: float | Tensor) -> Tensor:
    """Log-probabilities of the distribution between two, [N, V].

    Log-probabilities stand for logits here: the two differ by a constant a position, which the softmax forgets.
    """
    # At its ends t takes one side times 0, which -inf would turn into NaN.
    return F.log_softmax((1 - t) * finite(log_student) + t * finite(log_teacher), dim=-1)
