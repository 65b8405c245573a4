"""Several teachers as one: their probabilities mixed, position by position, with shares that are a text's."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhouse.errors import InputError
from stillhouse.losses.reduction import IGNORED, widest
from stillhouse.recipe.knowledge import ByConfidence, ByDomain, FixedWeights, Weighting
from stillhouse.teachers.samples import Sample, samples_of
from stillhouse.teachers.targets import Dense, Factored, Mixture, Targets
from stillhouse.teachers.teacher import Teacher
from stillhouse.teachers.weighting import fixed_shares, shares_by_confidence, shares_by_domain, unsureness_of
from stillhouse.training.batches import Batch

_ROWS = 64
"""Positions whose confidence is found at a time, each of which needs the vocabulary in fp32 from every member."""


@dataclass(frozen=True)
class _Places:
    """The n counted positions of a batch, row by row."""

    rows: Tensor
    """[n]"""
    positions: Tensor
    """[n]"""
    texts: Tensor
    """[n] number of the text that each lies in."""

    def pieces(self) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
        """A few of them at a time: which ones, and where they lie."""
        for start in range(0, len(self.rows), _ROWS):
            piece = slice(start, start + _ROWS)
            yield piece, (self.rows[piece], self.positions[piece])


@dataclass(frozen=True)
class EnsembleTeacher:
    """Teachers of one vocabulary that know whole distributions; make it with `ensemble`."""

    members: tuple[Teacher, ...]
    weights: tuple[float, ...]
    weighting: Weighting
    served: tuple[tuple[str, ...], ...]
    """For each teacher the data sets that it teaches; read only where the weighting is by domain."""

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.members[0].vocabulary_size

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The mixture at temperature 1; a loss softens it whole.

        Probabilities are mixed, not logits: a mean of logits, which is a product of distributions, lets one teacher
        veto what all others believe. The loss mixes them in chunks, so that no [B, T, V] numbers exist. Shares are
        found text by text, so how texts are packed and batched does not matter.

        Raises:
            InputError: If a member does not know whole distributions, or no member serves a text's data set.
        """
        samples = samples_of(batch)
        places = _places(batch, samples)
        known = {number: _dense(self.members[number].targets(batch)) for number in self._asked(samples)}
        by_text = self._log_shares(batch, samples, places, known).to(batch.labels.device)
        log_shares = torch.zeros(len(self.members), *batch.labels.shape, device=batch.labels.device)
        log_shares[:, places.rows, places.positions] = by_text[:, places.texts]
        shares = torch.zeros_like(log_shares)
        shares[:, places.rows, places.positions] = by_text.exp()[:, places.texts]
        return Targets(Mixture(tuple(known.values()), log_shares[list(known)]), shares=shares)

    def _asked(self, samples: Sequence[Sample]) -> list[int]:
        """Numbers of the teachers that must read the batch: by domain, those that serve one of its texts."""
        if not isinstance(self.weighting, ByDomain):
            return list(range(len(self.members)))
        found = shares_by_domain(self.weights, self.served, samples)
        return [number for number in range(len(self.members)) if (found[number] > -math.inf).any()]

    def _log_shares(
        self, batch: Batch, samples: Sequence[Sample], places: _Places, known: dict[int, Dense | Factored]
    ) -> Tensor:
        """Logarithms of the shares, [M, S]."""
        match self.weighting:
            case FixedWeights():
                return fixed_shares(self.weights, len(samples))
            case ByDomain():
                return shares_by_domain(self.weights, self.served, samples)
            case ByConfidence(measure=measure, sharpness=sharpness):
                wide = widest(batch.labels.device)
                sums = torch.zeros(len(known), len(samples), dtype=wide, device=batch.labels.device)
                for piece, place in places.pieces():
                    for number, each in known.items():
                        found = unsureness_of(each.at(*place), batch.labels[place], measure)
                        sums[number].index_add_(0, places.texts[piece], found.to(wide))
                counts = torch.bincount(places.texts, minlength=len(samples)).clamp_min(1)
                return shares_by_confidence(self.weights, sums / counts, sharpness)


def ensemble(
    members: Sequence[Teacher],
    weights: Sequence[float],
    weighting: Weighting = FixedWeights(),  # noqa: B008  # frozen
    served: Sequence[Sequence[str]] = (),
) -> EnsembleTeacher:
    """Make one teacher of several.

    Args:
        members: Local ones, or caches of full targets.
        weights: Positive; of those that teach a text, each one's share is its weight over their sum.
        weighting: What else a share depends on.
        served: For each teacher the names of the data sets that it teaches, where the weighting is by domain.

    Raises:
        InputError: If their vocabularies differ.
    """
    sizes = sorted({member.vocabulary_size for member in members})
    if len(sizes) > 1:
        raise InputError(
            f"an ensemble's teachers must share one vocabulary, got sizes {', '.join(map(str, sizes))}; take teachers "
            "with the tokenizer of the first"
        )
    return EnsembleTeacher(tuple(members), tuple(weights), weighting, tuple(tuple(sets) for sets in served))


def _places(batch: Batch, samples: Sequence[Sample]) -> _Places:
    texts = torch.zeros(batch.labels.shape, dtype=torch.long)
    for number, sample in enumerate(samples):
        texts[sample.row, sample.start : sample.start + len(sample.ids)] = number
    rows, positions = (batch.labels != IGNORED).nonzero(as_tuple=True)
    return _Places(rows, positions, texts.to(batch.labels.device)[rows, positions])


def _dense(targets: Targets) -> Dense | Factored:
    if isinstance(targets.distribution, Dense | Factored):
        return targets.distribution
    kind = type(targets.distribution).__name__
    raise InputError(
        f"an ensemble mixes whole distributions, got a teacher that gives {kind}; take it online, or capture full "
        "targets"
    )
