"""The training loss: cross-entropy and forward KL mixed, in chunks, with the gradient worked out by hand."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted

_CHUNK_ROWS = 128
"""Token positions at a time: a chunk of a 50,000-word vocabulary in fp32 stays in a processor's last cache."""


@dataclass(frozen=True)
class Mixture:
    """A loss and its two parts, each in nats per counted token."""

    loss: Tensor
    """`(1 - alpha) * cross_entropy + alpha * kl`; gradients flow from here."""
    cross_entropy: Tensor
    """With the text, for the record."""
    kl: Tensor
    """KL(teacher || student) at the temperature, times its square, for the record."""


def mixture(
    student_logits: Tensor, teacher_logits: Tensor | None, labels: Tensor, *, alpha: float, temperature: float
) -> Mixture:
    """Mix `cross_entropy` and `forward_kl`: their values and gradients, without their [B, T, V] fp32 copies.

    Autograd would keep some ten of those. The gradient of both losses is a difference of two distributions,
    `(1 - alpha) * (q_1 - label) + alpha * T * (q_T - p_T)`, so one pass over chunks gives value and gradient.

    Args:
        student_logits: [B, T, V], any floating dtype, which the gradient has too.
        teacher_logits: [B, T, V]; `None` counts as an alpha of 0.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        alpha: Share of the teacher's distribution.
        temperature: Softens both distributions of the KL.
    """
    mask = counted(labels)
    teacher = None if teacher_logits is None or alpha == 0 else teacher_logits[mask]
    share = 0.0 if teacher is None else alpha
    loss, cross_entropy, kl = _Mixture.apply(student_logits[mask], teacher, labels[mask], share, temperature)
    return Mixture(loss, cross_entropy, kl)


class _Mixture(torch.autograd.Function):
    """N counted tokens, V words: [N, V] logits in, three scalars out."""

    @staticmethod
    def forward(
        context: Any, student_NV: Tensor, teacher_NV: Tensor | None, labels_N: Tensor, alpha: float, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        gradient_NV = torch.empty_like(student_NV)
        sums = student_NV.new_zeros(2, dtype=torch.float64)
        for start in range(0, len(labels_N), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            teacher = None if teacher_NV is None else teacher_NV[rows]
            sums += _chunk(student_NV[rows], teacher, labels_N[rows], gradient_NV[rows], (alpha, temperature))
        number = max(len(labels_N), 1)
        context.save_for_backward(gradient_NV.div_(number))
        cross_entropy, kl = (sums / number).to(at_least_fp32(student_NV[:0]).dtype).unbind()
        context.mark_non_differentiable(cross_entropy, kl)
        return (1 - alpha) * cross_entropy + alpha * kl, cross_entropy, kl

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_NV,) = context.saved_tensors
        return gradient_NV * gradients[0].to(gradient_NV.dtype), None, None, None, None


def _chunk(
    student: Tensor, teacher: Tensor | None, labels: Tensor, gradient: Tensor, settings: tuple[float, float]
) -> Tensor:
    """Sums of cross-entropy and KL over a chunk, whose gradient is written into `gradient`."""
    alpha, temperature = settings
    scores = at_least_fp32(student)
    log_q1 = F.log_softmax(scores, dim=-1)
    cross_entropy = -log_q1.gather(1, labels[:, None]).sum()
    if teacher is None:
        slope = log_q1.exp_()
        slope.scatter_add_(1, labels[:, None], slope.new_full((len(labels), 1), -1.0))
        gradient.copy_(slope)
        return torch.stack([cross_entropy, cross_entropy.new_zeros(())]).double()
    log_q = log_q1 if temperature == 1 else F.log_softmax(scores / temperature, dim=-1)
    log_p = F.log_softmax(at_least_fp32(teacher) / temperature, dim=-1)
    p = log_p.exp()
    kl = temperature**2 * torch.linalg.vecdot(p, log_p.sub_(log_q)).sum()
    slope = log_q.exp().sub_(p).mul_(alpha * temperature)
    if alpha < 1:
        slope.add_(log_q1.exp_(), alpha=1 - alpha)
        slope.scatter_add_(1, labels[:, None], slope.new_full((len(labels), 1), alpha - 1))
    gradient.copy_(slope)
    return torch.stack([cross_entropy, kl]).double()
