"""Rows of whole documents, with as little padding as fits."""

from bisect import bisect_left, insort
from collections import defaultdict

import numpy as np
import numpy.typing as npt


def pack(starts: npt.NDArray[np.int64], sequence_length: int) -> list[list[int]]:
    """Put every document into exactly one row of at most `sequence_length` tokens.

    The longest document comes first, and each goes where it leaves the least room (best-fit decreasing: never more
    than 11/9 of the fewest rows possible, plus one; Johnson et al., 1974). Open rows are kept by the room that they
    have left, of which there are at most `sequence_length` kinds, so the work grows with the documents and not with
    the rows.

    Args:
        starts: [D + 1] where each document starts, and the end.
        sequence_length: Tokens in a row.

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
    for document in np.argsort(-lengths, kind="stable").tolist():
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
