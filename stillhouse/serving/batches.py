"""Sequences of several lengths as one batch, and continuations that grow side by side: numpy alone, for any runtime.

Shapes: B = sequences, T = tokens of the longest, V = vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.serving.language_model import Choose, Generation, NotFinite, OnStep

# Any token does: nothing that counts can see it.
_FILLING = 0


@dataclass(frozen=True)
class Padded:
    """Sequences side by side, `[B, T]` each."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    """1 at a sequence's own tokens, 0 where it was filled up."""

    @property
    def positions(self) -> NDArray[np.int64]:
        """Place of each token within its own sequence; 0 where it was filled up."""
        counted: NDArray[np.int64] = np.maximum(self.mask.cumsum(axis=1) - 1, 0)
        return counted


def pad_right(batch: Sequence[Sequence[int]]) -> Padded:
    """Fill sequences up behind their ends, for one pass."""
    return _padded(batch, at_left=False)


def pad_left(batch: Sequence[Sequence[int]]) -> Padded:
    """Fill sequences up before their beginnings, so that all of them go on at the same place."""
    return _padded(batch, at_left=True)


def _padded(batch: Sequence[Sequence[int]], *, at_left: bool) -> Padded:
    longest = max(len(ids) for ids in batch)
    ids_BT = np.full((len(batch), longest), _FILLING, dtype=np.int64)
    mask_BT = np.zeros((len(batch), longest), dtype=np.int64)
    for row, ids in enumerate(batch):
        place = slice(longest - len(ids), longest) if at_left else slice(len(ids))
        ids_BT[row, place], mask_BT[row, place] = ids, 1
    return Padded(ids_BT, mask_BT)


def highest(logits_V: NDArray[np.float32], row: int = 0) -> tuple[int, float]:
    """Return the most likely token and how far its logit is above the next.

    Raises:
        NotFinite: If the highest logit is NaN or infinite.
    """
    token = int(logits_V.argmax())
    # Of a row that holds NaN, numpy's highest is NaN.
    if not np.isfinite(logits_V[token]):
        raise NotFinite(row)
    others = (logits_V[:token].max(initial=-np.inf), logits_V[token + 1 :].max(initial=-np.inf))
    return token, float(logits_V[token]) - float(max(others))


class Continuations:
    """The new tokens of several prompts, and which of them still go on."""

    def __init__(
        self,
        count: int,
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        choose: Sequence[Choose] | None,
        on_step: OnStep | None,
    ):
        self.found = [Generation([], []) for _ in range(count)]
        """One a prompt."""
        self.going = [max_new_tokens > 0] * count
        """Which prompts need another token."""
        self._max_new_tokens = max_new_tokens
        self._stop_ids = frozenset(stop_ids)
        self._choose = choose
        self._on_step = on_step

    def take(self, logits_BV: NDArray[np.float32]) -> NDArray[np.int64]:
        """Choose the next token of each continuation that goes on; return `[B]`, filled up for those that do not.

        Raises:
            NotFinite: If a token cannot be chosen.
        """
        tokens = np.full(len(self.found), _FILLING, dtype=np.int64)
        for row, generation in enumerate(self.found):
            if not self.going[row]:
                continue
            token, margin = highest(logits_BV[row], row)
            if self._choose is not None:
                token = self._choose[row](logits_BV[row])
            generation.ids.append(token)
            generation.margins.append(margin)
            told = self._on_step is None or self._on_step(row, token)
            self.going[row] = told and token not in self._stop_ids and len(generation.ids) < self._max_new_tokens
            tokens[row] = token
        return tokens
