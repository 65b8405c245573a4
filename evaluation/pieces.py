"""Which documents of a split are compared, and where in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.data.dataset import Split


@dataclass(frozen=True)
class Piece:
    """A document of a split, or one piece of a long one."""

    name: str
    ids: list[int]
    positions: list[int]
    """Where a counted token is predicted: one before each of them."""
    num_bytes: int
    """UTF-8 bytes that the counted tokens spell."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The counted tokens, `[P]`, one for each of the `positions`."""
        return np.array([self.ids[position + 1] for position in self.positions], dtype=np.int64)


def first_pieces(split: Split, budget: int, *, documents: int = 1) -> list[Piece]:
    """Return the first documents that hold `budget` counted tokens, or all of them; the last is read to its end.

    Args:
        split: The documents.
        budget: Counted tokens.
        documents: However many tokens they hold, at least so many.
    """
    chosen: list[Piece] = []
    names: set[str] = set()
    left = budget
    for number, name in enumerate(split.names):
        part = slice(int(split.starts[number]), int(split.starts[number + 1]))
        positions = np.flatnonzero(split.counted[part][1:]).tolist()
        if positions and (left > 0 or len(names) < documents):
            names.add(name)
            chosen.append(Piece(name, split.ids[part].tolist(), positions, int(split.num_bytes[number])))
            left -= len(positions)
    return chosen
