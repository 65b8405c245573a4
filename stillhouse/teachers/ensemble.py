"""Several teachers as one: their probabilities mixed, position by position."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.errors import InputError
from stillhouse.losses.reduction import IGNORED
from stillhouse.teachers.targets import Dense, Factored, Targets
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.batches import Batch

_ROWS = 64
"""Positions mixed at a time, each of which needs the vocabulary in fp32 from every member."""


@dataclass(frozen=True)
class EnsembleTeacher:
    """Teachers of one vocabulary that know whole distributions; make it with `ensemble`."""

    members: tuple[Teacher, ...]
    log_shares: tuple[float, ...]
    """Logarithms of their shares, which add up to 1."""

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.members[0].vocabulary_size

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The mixture at temperature 1, as log-probabilities; a loss softens it whole.

        Probabilities are mixed, not logits: a mean of logits, which is a product of distributions, lets one teacher
        veto what all others believe. Unlike a single model's, the result cannot be a product of hidden states and one
        head, so its [B, T, V] numbers exist, in fp32.

        Raises:
            InputError: If a member does not know whole distributions.
        """
        known = [_dense(member.targets(batch)) for member in self.members]
        rows, positions = (batch.labels != IGNORED).nonzero(as_tuple=True)
        mixture = torch.zeros(*batch.labels.shape, self.vocabulary_size, device=batch.labels.device)
        for start in range(0, len(rows), _ROWS):
            place = rows[start : start + _ROWS], positions[start : start + _ROWS]
            mixture[place] = self._mixed([each.at(*place) for each in known])
        return Targets(Dense(mixture))

    def _mixed(self, logits: Sequence[Tensor]) -> Tensor:
        terms = [
            F.log_softmax(each.float(), dim=-1) + log_share
            for each, log_share in zip(logits, self.log_shares, strict=True)
        ]
        return torch.logsumexp(torch.stack(terms), dim=0)


def ensemble(members: Sequence[Teacher], weights: Sequence[float]) -> EnsembleTeacher:
    """Make one teacher of several.

    Args:
        members: Local ones, or caches of full targets.
        weights: Positive; each one's share of the mixture is its weight over their sum.

    Raises:
        InputError: If their vocabularies differ.
    """
    sizes = sorted({member.vocabulary_size for member in members})
    if len(sizes) > 1:
        raise InputError(
            f"an ensemble's teachers must share one vocabulary, got sizes {', '.join(map(str, sizes))}; take teachers "
            "with the tokenizer of the first"
        )
    total = sum(weights)
    return EnsembleTeacher(tuple(members), tuple(math.log(weight / total) for weight in weights))


def _dense(targets: Targets) -> Dense | Factored:
    if isinstance(targets.distribution, Dense | Factored):
        return targets.distribution
    kind = type(targets.distribution).__name__
    raise InputError(
        f"an ensemble mixes whole distributions, got a teacher that gives {kind}; take it online, or capture full "
        "targets"
    )
