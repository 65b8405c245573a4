"""The training loss from whole logits, for models whose logits are more than hidden states times a head.

Some cap their logits, some add a bias; `chunked_loss` does not fit them. Values and gradients are the same.
"""

import torch
from torch import Tensor

from stillhouse import losses
from stillhouse.losses.agreement import agreed, likeliest
from stillhouse.losses.chunked import ChunkedLoss
from stillhouse.losses.reduction import IGNORED, counted
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.losses import Loss
from stillhouse.teachers.targets import Dense, Distribution, Draws, Factored, Mixture, TopK
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.divergence import forms_of

_ROWS = 64
"""Positions mixed at a time, each of which needs the vocabulary in fp32 from every teacher."""


def plain_loss(
    logits: Tensor,
    labels: Tensor,
    distribution: Distribution | None,
    distillation: Distillation,
    coefficients: Coefficients,
    weights: Tensor | None = None,
) -> ChunkedLoss:
    """Cross-entropy and the teacher's loss, mixed, as `chunked_loss` gives them.

    Args:
        logits: [B, T, V] of the student.
        labels: [B, T] the token that each position predicts, -100 where none is counted.
        distribution: What the teacher said; `None` counts as an alpha of 0.
        distillation: The loss from it, where the whole distribution is known, and whether agreement is counted.
        coefficients: Of this step.
        weights: [B, T] as `chunked_loss` takes them: few distinct values, since each takes a pass of its own.
    """
    if weights is None:
        return _alike(logits, labels, distribution, distillation, coefficients)
    number = max(int(counted(labels).sum()), 1)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    agreement: Tensor | None = None
    for weight in weights[counted(labels)].unique():
        own = torch.where(weights == weight, labels, IGNORED)
        found = _alike(logits, own, distribution, distillation, coefficients)
        share = counted(own).sum() / number
        parts.append(tuple(weight * share * each for each in (found.loss, found.cross_entropy, found.teacher_loss)))
        if found.agreement is not None:
            # What a document counts for says nothing of whether the two agree on it.
            agreement = share * found.agreement + (0 if agreement is None else agreement)
    if not parts:
        return _alike(logits, labels, distribution, distillation, coefficients)
    loss, text, teacher = (torch.stack(each).sum() for each in zip(*parts, strict=True))
    return ChunkedLoss(loss, text, teacher, agreement)


def _alike(
    logits: Tensor,
    labels: Tensor,
    distribution: Distribution | None,
    distillation: Distillation,
    coefficients: Coefficients,
) -> ChunkedLoss:
    text = losses.cross_entropy(logits, labels)
    if distribution is None or coefficients.alpha == 0:
        return ChunkedLoss(text, text.detach(), text.detach() * 0)
    teacher = _teacher_loss(logits, labels, distribution, distillation.loss, coefficients)
    alpha = coefficients.alpha
    agreement = _agreement(logits, labels, distribution) if distillation.follows_agreement else None
    return ChunkedLoss((1 - alpha) * text + alpha * teacher, text.detach(), teacher.detach(), agreement)


def _agreement(logits: Tensor, labels: Tensor, distribution: Distribution) -> Tensor:
    mask = counted(labels)
    match distribution:
        case Dense() | Factored():
            first = likeliest(distribution.at(*mask.nonzero(as_tuple=True)))
        case Mixture():
            first = likeliest(_mixed(distribution, logits, labels).logits[mask])
        case TopK(ids, weights) | Draws(ids, weights):
            first = likeliest(ids[mask], weights[mask])
    return agreed(logits[mask], first).sum() / max(len(first), 1)


def _mixed(distribution: Mixture, logits: Tensor, labels: Tensor) -> Dense:
    """The mixture at the counted positions, [B, T, V], whole as the student's logits are here."""
    mixed = torch.zeros(logits.shape, device=logits.device)
    rows, positions = counted(labels).nonzero(as_tuple=True)
    for start in range(0, len(rows), _ROWS):
        place = rows[start : start + _ROWS], positions[start : start + _ROWS]
        mixed[place] = distribution.at(*place)
    return Dense(mixed)


def _teacher_loss(
    logits: Tensor, labels: Tensor, distribution: Distribution, loss: Loss, coefficients: Coefficients
) -> Tensor:
    temperature = coefficients.temperature
    match distribution:
        case Dense(teacher_logits):
            return _divergence(logits, teacher_logits, labels, loss, coefficients)
        case Factored(hidden, head):
            return _divergence(logits, hidden @ head.T, labels, loss, coefficients)
        case Mixture():
            return _divergence(logits, _mixed(distribution, logits, labels).logits, labels, loss, coefficients)
        case TopK(ids, log_probabilities):
            return losses.top_k_with_tail(logits, ids, log_probabilities, labels, temperature=temperature)
        case Draws(ids, counts):
            return losses.sampled(logits, ids, counts, labels)


def _divergence(logits: Tensor, teacher: Tensor, labels: Tensor, loss: Loss, coefficients: Coefficients) -> Tensor:
    plain = forms_of(loss, coefficients.taid_t).plain
    return plain(logits, teacher, labels, temperature=coefficients.temperature)
