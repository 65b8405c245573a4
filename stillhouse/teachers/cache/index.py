"""Which samples a shard holds, and which of their positions: arrays on disk that are searched without being read whole.

S samples ordered by their ids; sample s has L_s tokens and a record at each position that predicts a target. The
records of a sample lie together, in the order of their positions, and samples in their order.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.bool_]
"""[L] True where a position of a sample has a record."""


@dataclass(frozen=True)
class ShardIndex:
    """The opened arrays of a shard."""

    ids: npt.NDArray[np.uint64]
    """[2, S] first and second half of each sample's id, ascending."""
    lengths: npt.NDArray[np.int32]
    """[S] L_s."""
    starts: npt.NDArray[np.int64]
    """[S + 1] number of each sample's first record, and of all records."""
    bit_starts: npt.NDArray[np.int64]
    """[S + 1] where each sample's bytes in `positions` begin, and the end."""
    positions: npt.NDArray[np.uint8]
    """A bit for each position, the samples' bytes one after another."""

    @property
    def num_records(self) -> int:
        """Records of all samples."""
        return int(self.starts[-1])

    def find(self, sample: bytes) -> int | None:
        """Number of a sample, or `None` where the shard does not hold it."""
        first, second = struct.unpack(">QQ", sample)
        place = int(np.searchsorted(self.ids[0], np.uint64(first)))
        while place < self.ids.shape[1] and self.ids[0, place] == first:
            if self.ids[1, place] == second:
                return place
            place += 1
        return None

    def positions_of(self, number: int) -> Positions:
        """Which positions of a sample have a record."""
        packed = self.positions[self.bit_starts[number] : self.bit_starts[number + 1]]
        return np.unpackbits(packed, count=int(self.lengths[number])).astype(bool)


def write_index(folder: Path, ids: Sequence[bytes], positions: Sequence[Positions]) -> ShardIndex:
    """Write the index of a shard.

    Args:
        folder: The shard's.
        ids: Of its samples, ascending.
        positions: Of its samples, in the same order.
    """
    halves = [struct.unpack(">QQ", sample) for sample in ids]
    packed = [np.packbits(each) for each in positions]
    arrays: dict[str, npt.NDArray[Any]] = {
        "ids": np.array(halves, dtype=np.uint64).reshape(-1, 2).T.copy(),
        "lengths": np.array([len(each) for each in positions], dtype=np.int32),
        "starts": _ends([int(np.count_nonzero(each)) for each in positions]),
        "bit_starts": _ends([len(each) for each in packed]),
        "positions": np.concatenate([np.zeros(0, dtype=np.uint8), *packed]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return ShardIndex(**arrays)


def open_index(folder: Path) -> ShardIndex:
    """Open the index of a shard; it stays on disk until it is looked into."""
    names = ("ids", "lengths", "starts", "bit_starts", "positions")
    return ShardIndex(**{name: open_array(folder / f"{name}.npy") for name in names})


def open_array(path: Path) -> npt.NDArray[Any]:
    """An array on disk, mapped into memory."""
    # An array without elements cannot be mapped.
    array: npt.NDArray[Any] = np.load(path, mmap_mode=None if path.stat().st_size < 4096 else "r")
    return array


def _ends(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64)
