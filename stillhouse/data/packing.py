"""Rows of whole documents, with as little padding as fits."""

from bisect import bisect_left, insort
from collections import defaultdict

import numpy as np
import numpy.typing as npt

_ALIKE_ROWS = 32
"""Rows that are filled together where like documents share a row: of each such group one row may stay half empty."""


def pack_alike(starts: npt.NDArray[np.int64], sequence_length: int, ordered: npt.NDArray[np.int64]) -> list[list[int]]:
    """Put neighbours in an order into rows together, with little more padding than `pack` leaves.

    The order is cut into groups of some rows, and each is packed by itself.

    Args:
        starts: [D + 1] where each document starts, and the end.
        sequence_length: Tokens in a row.
        ordered: The documents to pack.

    Returns:
        Rows of document numbers, those of the first group first.

    Raises:
        ValueError: If a document is longer than a row.
    """
    # A document belongs to the group in which it starts.
    before = np.concatenate([[0], np.cumsum(np.diff(starts)[ordered])[:-1]]) if len(ordered) else ordered
    groups = before // (_ALIKE_ROWS * sequence_length)
    rows: list[list[int]] = []
    for group in np.unique(groups):
        rows += pack(starts, sequence_length, ordered[groups == group])
    return rows


def pack(
    starts: npt.NDArray[np.int64], sequence_length: int, documents: npt.NDArray[np.int64] | None = None
) -> list[list[int]]:
    """Put every document into exactly one row of at most `sequence_length` tokens.

    The longest document comes first, and each goes where it leaves the least room (best-fit decreasing: never more
    than 11/9 of the fewest rows possible, plus one; Johnson et al., 1974). Open rows are kept by the room that they
    have left, of which there are at most `sequence_length` kinds, so the work grows with the documents and not with
    the rows.

    Args:
        starts: [D + 1] where each document starts, and the end.
        sequence_length: Tokens in a row.
        documents: Those to pack; all when left out.

    Returns:
        Rows of document numbers, the same for the same lengths.

    Raises:
        ValueError: If a document is longer than a row.
    """
    lengths = np.diff(starts)
    if len(lengths) and int(lengths.max()) > sequence_length:
        longest = int(lengths.argmax())
        raise ValueError(f"document {longest} has {lengths[longest]} tokens, and a row holds {sequence_length}")
    rows: list[list[int]] = []
    rows_by_room: dict[int, list[int]] = defaultdict(list)
    rooms: list[int] = []
    chosen = np.arange(len(lengths)) if documents is None else documents
    for document in chosen[np.argsort(-lengths[chosen], kind="stable")].tolist():
        length = int(lengths[document])
        found = bisect_left(rooms, length)
        if found == len(rooms):
            row, room = len(rows), sequence_length
            rows.append([])
        else:
            room = rooms[found]
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms.pop(found)
        rows[row].append(document)
        left = room - length
        if not rows_by_room[left]:
            insort(rooms, left)
        rows_by_room[left].append(row)
    return rows
