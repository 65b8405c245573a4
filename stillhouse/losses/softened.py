"""What every divergence begins with: both distributions, softened, at the counted positions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted
from stillhouse.losses.shapes import check_labels, check_one_vocabulary, check_temperature


def softened(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of student and teacher at the N counted positions.

    Args:
        student_logits: [B, T, V], any floating dtype.
        teacher_logits: [B, T, V] over the same vocabulary.
        labels: [B, T]; -100 where none is counted.
        temperature: Divides both logits.

    Returns:
        Two tensors [N, V], at least fp32: a bf16 softmax over a vocabulary loses its tail.

    Raises:
        ValueError: If shapes do not fit or the temperature is not positive.
    """
    check_one_vocabulary(student_logits, teacher_logits)
    check_labels(student_logits, labels)
    check_temperature(temperature)
    mask = counted(labels)
    return log_probabilities(student_logits[mask], temperature), log_probabilities(teacher_logits[mask], temperature)


def log_probabilities(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Log-softmax of the logits over the temperature, at least fp32."""
    return F.log_softmax(at_least_fp32(logits) / temperature, dim=-1)


def log_mixture(log_first: Tensor, log_second: Tensor, share: float | Tensor) -> Tensor:
    """`log(share * first + (1 - share) * second)`, without leaving the logarithms, where nothing underflows.

    Args:
        log_first: Log-probabilities.
        log_second: Log-probabilities of the same shape.
        share: Of the first, from 0 to 1, both of which are exact.
    """
    share = torch.as_tensor(share, dtype=log_first.dtype, device=log_first.device)
    return torch.logaddexp(log_first + share.log(), log_second + torch.log1p(-share))
