"""Samples: the texts of a batch, each named by its own tokens, so that its place in a loader never matters.

What a causal model says at a position depends on the tokens before it in its text and on nothing else: rows are packed
so that texts do not see each other.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stillhouse.losses.reduction import IGNORED
from stillhouse.training.batches import Batch

ID_BYTES = 16
"""128 bits of a SHA-256: no two texts of any data set share them."""


@dataclass(frozen=True)
class Sample:
    """A text of L tokens as it lies in a batch."""

    row: int
    start: int
    """Its first position in the row."""
    ids: npt.NDArray[np.int32]
    """[L] tokens, padding and neighbours left out."""
    counted: npt.NDArray[np.bool_]
    """[L] True where a position predicts a target."""
    name: str
    """The document's, for messages."""

    @property
    def id(self) -> bytes:
        """What it is found by."""
        return sample_id(self.ids)


def sample_id(ids: npt.NDArray[np.int32]) -> bytes:
    """The name of a text: a hash of its tokens in order."""
    return hashlib.sha256(np.asarray(ids, dtype="<i4").tobytes()).digest()[:ID_BYTES]


def samples_of(batch: Batch) -> list[Sample]:
    """The texts of a batch, row by row. Each starts where the positions start at 0; padding comes after the last."""
    input_ids = batch.input_ids.cpu().numpy().astype(np.int32)
    counted = batch.labels.cpu().numpy() != IGNORED
    position_ids = batch.position_ids.cpu().numpy()
    found = []
    for row, names in enumerate(batch.names):
        starts = [*np.flatnonzero(position_ids[row] == 0).tolist(), input_ids.shape[1]]
        for name, start, end in zip(names, starts, starts[1:], strict=False):
            place = slice(start, end)
            found.append(Sample(row, start, input_ids[row, place], counted[row, place], name))
    return found
