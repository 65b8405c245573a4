"""The dense divergences with their gradients worked out by hand.

N positions, V words; q is the student's distribution, p the teacher's, both softened already. Each function gives the
divergence at every position, [N], and its slope, [N, V]: the derivative by the logits whose softmax is q. For any
divergence with derivative g_v by q_v that is `q_v * (g_v - sum over u of q_u * g_u)`, the softmax's share of it.

Of the plain losses these are a second, independent account: tests hold each against autograd of the plain form.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.losses.shapes import check_share
from stillhouse.losses.softened import log_mixture
from stillhouse.losses.taid import interpolated

ValueAndSlope = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From log q [N, V], log p [N, V] and a parameter, which is a scalar tensor, to value [N] and slope [N, V]."""


@dataclass(frozen=True)
class Divergence:
    """How far a student is from a teacher whose whole distribution is known."""

    value_and_slope: ValueAndSlope
    parameter: float = 0.0
    """What the plain loss calls beta, skew or t."""


def forward_kl() -> Divergence:
    """As `stillhouse.losses.forward_kl`."""
    return Divergence(_forward_kl)


def reverse_kl() -> Divergence:
    """As `stillhouse.losses.reverse_kl`."""
    return Divergence(_reverse_kl)


def jensen_shannon(beta: float = 0.5) -> Divergence:
    """As `stillhouse.losses.jensen_shannon`; at 0 and 1 it is 0 everywhere, and teaches nothing."""
    check_share("beta", beta)
    return Divergence(_jensen_shannon, beta)


def skewed_forward_kl(skew: float = 0.1) -> Divergence:
    """As `stillhouse.losses.skewed_forward_kl`."""
    check_share("skew", skew)
    return Divergence(_skewed_forward_kl, skew)


def skewed_reverse_kl(skew: float = 0.1) -> Divergence:
    """As `stillhouse.losses.skewed_reverse_kl`."""
    check_share("skew", skew)
    return Divergence(_skewed_reverse_kl, skew)


def total_variation() -> Divergence:
    """As `stillhouse.losses.total_variation`."""
    return Divergence(_total_variation)


def taid(t: float) -> Divergence:
    """As `stillhouse.losses.taid`; made anew at each step, with the step's t."""
    check_share("t", t)
    return Divergence(_taid, t)


def _forward_kl(log_q: Tensor, log_p: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
    del parameter
    p = log_p.exp()
    # As `_mean`, in the third of its time that the default loss has: the student's logits are a product, never -inf.
    below = (log_p - log_q).clamp_(min=torch.finfo(log_p.dtype).min)
    return torch.linalg.vecdot(p, below), log_q.exp().sub_(p)


def _reverse_kl(log_q: Tensor, log_p: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
    del parameter
    # d/dq_v of sum q (log q - log p) is log q_v - log p_v + 1; a constant has no slope.
    return _value_and_softmax_slope(log_q.exp(), log_q - log_p)


def _jensen_shannon(log_q: Tensor, log_p: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    log_m = log_mixture(log_p, log_q, beta)
    of_teacher = _mean(log_p.exp(), log_p - log_m)
    # All terms through m add up to a constant, which leaves (1 - beta) * (log q_v - log m_v).
    of_student, slope = _value_and_softmax_slope(log_q.exp(), log_q - log_m)
    return beta * of_teacher + (1 - beta) * of_student, slope.mul_(1 - beta)


def _skewed_forward_kl(log_q: Tensor, log_p: Tensor, skew: Tensor) -> tuple[Tensor, Tensor]:
    log_m = log_mixture(log_p, log_q, skew)
    below = log_p - log_m
    _, slope = _value_and_softmax_slope(log_q.exp(), below.exp().mul_(skew - 1))
    return _mean(log_p.exp(), below), slope


def _skewed_reverse_kl(log_q: Tensor, log_p: Tensor, skew: Tensor) -> tuple[Tensor, Tensor]:
    log_m = log_mixture(log_q, log_p, skew)
    above = log_q - log_m
    q = log_q.exp()
    _, slope = _value_and_softmax_slope(q, above - skew * above.exp())
    return _mean(q, above), slope


def _total_variation(log_q: Tensor, log_p: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
    del parameter
    q = log_q.exp()
    above = q - log_p.exp()
    _, slope = _value_and_softmax_slope(q, above.sign().mul_(0.5))
    return 0.5 * above.abs().sum(dim=-1), slope


def _taid(log_q: Tensor, log_p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return _forward_kl(log_q, interpolated(log_q, log_p, t), t)


def _value_and_softmax_slope(q: Tensor, derivative: Tensor) -> tuple[Tensor, Tensor]:
    """`sum q * derivative`, [N], and the slope of what has this derivative by q, [N, V]; overwrites the latter."""
    mean = _mean(q, derivative)
    return mean, derivative.sub_(mean[:, None]).mul_(q)


def _mean(probabilities: Tensor, values: Tensor) -> Tensor:
    """`sum probabilities * values`, [N], where 0 times anything is 0 (`0 log 0`); overwrites the latter so."""
    return torch.linalg.vecdot(probabilities, values.masked_fill_(probabilities == 0, 0.0))
