"""How much say each of several teachers had in each data set: counted in every step, kept with the history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stillhouse.data.dataset import set_of
from stillhouse.losses.reduction import IGNORED, widest
from stillhouse.teachers.samples import samples_of
from stillhouse.training.batches import Batch


@dataclass(frozen=True)
class SaySums:
    """Of one step, in this process."""

    sets: tuple[str, ...]
    """Names of the training text's data sets, in the same order in every process."""
    sums: Tensor
    """[sets, 1 + M] counted tokens, and of each of M teachers the sum of its shares; fp64 where the device has it."""

    def add(self, batch: Batch, shares: Tensor) -> None:
        """Count a batch that was taught with these shares, [M, B, T]."""
        for sample in samples_of(batch):
            place = slice(sample.start, sample.start + len(sample.ids))
            counts = batch.labels[sample.row, place] != IGNORED
            row = self.sums[self.sets.index(set_of(sample.name))]
            row[0] += counts.sum()
            row[1:] += shares[:, sample.row, place][:, counts].to(self.sums).sum(dim=-1)


def no_say(sets: Sequence[str], num_teachers: int, device: str) -> SaySums:
    """Nothing counted yet."""
    wide = widest(torch.device(device))
    return SaySums(tuple(sets), torch.zeros(len(sets), 1 + num_teachers, dtype=wide, device=device))


def added(before: dict[str, Any] | None, step: SaySums) -> dict[str, Any]:
    """The record of a training with one more step: by set its `tokens`, and in `shares` the sums of every teacher's.

    Args:
        before: The record so far; none before the first step.
        step: Sums over all processes.
    """
    numbers = step.sums.tolist()
    held = before or {}
    record = {}
    for name, (tokens, *shares) in zip(step.sets, numbers, strict=True):
        old = held.get(name, {"tokens": 0, "shares": [0.0] * len(shares)})
        sums = [one + other for one, other in zip(old["shares"], shares, strict=True)]
        record[name] = {"tokens": old["tokens"] + int(tokens), "shares": sums}
    return record
