"""Generalised Jensen-Shannon divergence."""

from torch import Tensor

from stillhouse.losses.reduction import mean_over_counted
from stillhouse.losses.shapes import check_share
from stillhouse.losses.softened import log_mixture, relative_entropy, softened


def jensen_shannon(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """`beta * KL(teacher || M) + (1 - beta) * KL(student || M)`, M = beta * teacher + (1 - beta) * student.

    Bounded, and between the two directions of KL (Agarwal et al., 2024, "On-policy distillation"). `beta` is the
    teacher's weight in M, as in GKD, TRL and Liger; DistiLLM's `lam` is the student's, 1 - beta. For small beta the
    value nears `beta * KL(teacher || student)`, for large beta `(1 - beta) * KL(student || teacher)`, and at 0 and
    1 it is 0, gradient included: this is the formula everywhere, without the jump to a whole KL that TRL and Liger
    make at the two ends. There, `forward_kl` and `reverse_kl` are what is meant.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        beta: The teacher's weight in the mixture, from 0 to 1.
        temperature: Softens both distributions.

    Returns:
        Nats per counted token, times the temperature squared: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit or beta is out of range.
    """
    check_share("beta", beta)
    student, teacher = softened(student_logits, teacher_logits, labels, temperature)
    mixture = log_mixture(teacher, student, beta)
    of_teacher = relative_entropy(teacher, mixture)
    of_student = relative_entropy(student, mixture)
    return temperature**2 * mean_over_counted(beta * of_teacher + (1 - beta) * of_student)
