"""Distance between the predictions of two models whose tokenizers differ."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import counted, mean_over_counted
from stillhouse.losses.shapes import check_labels, check_temperature
from stillhouse.losses.softened import log_probabilities


def universal_logit_distance(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_labels: Tensor,
    teacher_labels: Tensor,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """Sum over ranks of |teacher's r-th largest probability - student's|, times the temperature squared.

    Ids of two tokenizers do not name the same things, but the shape of a prediction, how sure it is and of how many
    tokens, needs no names (Boizard et al., 2025, "Towards cross-tokenizer distillation"). It is 0 for a model and
    any renaming of its vocabulary, so mix it with the text, which says what the tokens are. From 0 to 2 at
    temperature 1; not in nats, and like `total_variation` in how its gradient grows with the temperature.

    In each row the first counted position of the student is compared with the first of the teacher, and so on; what
    one side has more of is left out. Count the positions where both have read the same text, and only those.

    Args:
        student_logits: [B, S, V], any floating dtype; gradients flow here.
        teacher_logits: [B, T, W]; the smaller vocabulary is filled up with probabilities of 0.
        student_labels: [B, S]; -100 where none is counted.
        teacher_labels: [B, T] of the teacher's own tokens.
        temperature: Softens both distributions.

    Returns:
        Mean over the positions compared: a scalar, at least fp32; 0 where there is none.

    Raises:
        ValueError: If shapes do not fit.
    """
    check_labels(student_logits, student_labels)
    check_labels(teacher_logits, teacher_labels, "teacher")
    check_temperature(temperature)
    student_places, teacher_places = _in_order(student_labels, teacher_labels)
    student = _by_rank(student_logits[student_places], temperature)
    teacher = _by_rank(teacher_logits[teacher_places], temperature)
    ranks = max(student.shape[-1], teacher.shape[-1])
    distance = (_filled(teacher, ranks) - _filled(student, ranks)).abs().sum(dim=-1)
    return temperature**2 * mean_over_counted(distance)


def _in_order(student_labels: Tensor, teacher_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of the positions that have a partner: equally many in each row of the two, in the same order."""
    if len(student_labels) != len(teacher_labels):
        raise ValueError(
            f"student and teacher must have equally many rows, got {len(student_labels)} and {len(teacher_labels)}; "
            "a row of one is the text of the same row of the other"
        )
    student, teacher = counted(student_labels), counted(teacher_labels)
    pairs = student.sum(dim=1).minimum(teacher.sum(dim=1))[:, None]
    return student & (student.cumsum(dim=1) <= pairs), teacher & (teacher.cumsum(dim=1) <= pairs)


def _by_rank(logits: Tensor, temperature: float) -> Tensor:
    return log_probabilities(logits, temperature).exp().sort(dim=-1, descending=True).values


def _filled(probabilities: Tensor, ranks: int) -> Tensor:
    return F.pad(probabilities, (0, ranks - probabilities.shape[-1]))
