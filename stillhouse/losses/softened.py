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
    student = log_probabilities(student_logits[mask], temperature)
    teacher = log_probabilities(teacher_logits[mask], temperature)
    # What neither can say has a probability of 0 all the same, but a gradient that is a number.
    neither = student.isneginf() & teacher.isneginf()
    lowest = _lowest(student)
    return student.masked_fill(neither, lowest), teacher.masked_fill(neither, lowest)


def relative_entropy(log_first: Tensor, log_second: Tensor) -> Tensor:
    """`sum first * (log first - log second)` at every position, [N], in nats; `0 log 0` is 0, and so is its gradient.

    A logit of -inf is how some models rule out a token, and how a mixture says what underflowed. Where the first has
    probability and the second has none, the divergence is infinite, and so is this.
    """
    first = log_first.exp()
    return (first * (log_first - log_second).masked_fill(first == 0, 0.0)).sum(dim=-1)


def finite(log_values: Tensor) -> Tensor:
    """With a finite number for -inf, whose exponential is 0 too: 0 times it is 0."""
    return log_values.clamp(min=_lowest(log_values))


def _lowest(values: Tensor) -> float:
    # A quarter, so that differences of two and their multiples by a share stay finite.
    return torch.finfo(values.dtype).min / 4


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
