"""The arithmetic of a few positions: pure functions from logits to losses and to the slope of their mixture.

n positions, V words, K tokens stored. Each gives the cross-entropy with the text [n], the teacher's loss [n] at its
temperature and times its square, and [n, V] the slope of `(1 - alpha) * cross_entropy + alpha * teacher's loss` by the
logits. Fit for `torch.compile`: what a schedule moves comes as tensors, what decides which code runs as Python values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.losses.chunked.divergences import ValueAndSlope
from stillhouse.losses.softened import log_probabilities

Losses = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Mix:
    """How text and teacher are mixed: scalars as tensors, and what is known of them beforehand."""

    alpha: Tensor
    """Share of the teacher."""
    temperature: Tensor
    parameter: Tensor
    """Of the divergence."""
    tempered: bool
    """Whether the temperature is not 1."""
    with_text: bool
    """Whether alpha is not 1."""


def text_alone(logits: Tensor, labels: Tensor) -> Losses:
    """No teacher: an alpha of 0."""
    log_q = log_probabilities(logits)
    cross_entropy = _of_labels(log_q, labels)
    slope = log_q.exp_()
    _subtract(slope, labels[:, None], slope.new_ones(1))
    return cross_entropy, torch.zeros_like(cross_entropy), slope


def dense(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, mix: Mix, value_and_slope: ValueAndSlope
) -> Losses:
    """A teacher whose logits [n, V] are known."""
    log_q1, log_q = _both(logits, mix)
    cross_entropy = _of_labels(log_q1, labels)
    log_p = log_probabilities(teacher_logits, mix.temperature)
    value, slope = value_and_slope(log_q, log_p, mix.parameter)
    slope.mul_(mix.alpha * mix.temperature)
    return cross_entropy, mix.temperature**2 * value, _with_text(slope, log_q1, labels, mix)


def top_k(logits: Tensor, labels: Tensor, ids: Tensor, known: Tensor, tail: Tensor, *, mix: Mix) -> Losses:
    """A teacher of whom ids [n, K], their probabilities [n, K] and the rest [n] are known."""
    log_q1, log_q = _both(logits, mix)
    cross_entropy = _of_labels(log_q1, labels)
    log_known = log_q.gather(1, ids)
    q = log_q.exp()
    # A sum over what is left, not 1 minus the rest: the tail of a sure student is far smaller than a rounding error.
    rest = q.scatter(1, ids, 0.0).sum(dim=-1).clamp_min(torch.finfo(q.dtype).tiny)
    entropy = -torch.xlogy(known, known).sum(dim=-1) - torch.xlogy(tail, tail)
    value = -torch.linalg.vecdot(known, log_known) - tail * rest.log() - entropy
    # Within the tail the student keeps its own proportions; at the K tokens the slope is q - p.
    slope = q.mul_((1 - tail / rest)[:, None])
    slope.scatter_(1, ids, log_known.exp())
    # Added up: an unused place repeats an id with a probability of 0, and must not write over what that id has.
    _subtract(slope, ids, known)
    slope.mul_(mix.alpha * mix.temperature)
    return cross_entropy, mix.temperature**2 * value, _with_text(slope, log_q1, labels, mix)


def sampled(logits: Tensor, labels: Tensor, ids: Tensor, shares: Tensor, *, mix: Mix) -> Losses:
    """A teacher from whom ids [n, K] were drawn, with shares [n, K] of the draws."""
    log_q = log_probabilities(logits)
    cross_entropy = _of_labels(log_q, labels)
    value = -torch.linalg.vecdot(shares, log_q.gather(1, ids))
    # Text and draws are both a target of few tokens, so one softmax serves both.
    slope = log_q.exp_()
    _subtract(slope, ids, mix.alpha * shares)
    _subtract(slope, labels[:, None], 1 - mix.alpha)
    return cross_entropy, value, slope


def _both(logits: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """Log-probabilities as they are, and softened."""
    log_q1 = log_probabilities(logits)
    return log_q1, log_probabilities(logits, mix.temperature) if mix.tempered else log_q1


def _of_labels(log_q: Tensor, labels: Tensor) -> Tensor:
    return -log_q.gather(1, labels[:, None])[:, 0]


def _with_text(slope: Tensor, log_q1: Tensor, labels: Tensor, mix: Mix) -> Tensor:
    if not mix.with_text:
        return slope
    slope.add_(log_q1.exp().mul_(1 - mix.alpha))
    _subtract(slope, labels[:, None], 1 - mix.alpha)
    return slope


def _subtract(slope: Tensor, ids: Tensor, shares: Tensor) -> None:
    """Take the target's shares, [n, K] or what broadcasts to it, off the slope."""
    slope.scatter_add_(1, ids, -shares.expand(ids.shape))
