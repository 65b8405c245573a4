"""Packed batches: several documents in one row that do not see each other.

B rows, T positions. Labels are aligned here and nowhere else: `labels[b, t]` is what `logits[b, t]` predicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stillhouse.data.dataset import Split
from stillhouse.losses.reduction import IGNORED
from stillhouse.training.packed_attention import masks_of


@dataclass(frozen=True)
class Batch:
    """What a forward pass takes and what its logits are compared with."""

    input_ids: Tensor
    """[B, T] tokens."""
    labels: Tensor
    """[B, T] the token that each position predicts, or -100; never one of another document."""
    position_ids: Tensor
    """[B, T] places within the document."""
    attention_mask: Tensor
    """[B, 1, T, T] True where a position (third axis) may see another (fourth). For models that run with `sdpa`
    attention, which takes it as it is; `eager` attention would add it up as numbers."""
    names: tuple[tuple[str, ...], ...]
    """Names of the documents in each row, in their order."""
    weights: Tensor | None = None
    """[B, T] what each position's loss counts, 1 on average over the training text; `None` where all count alike."""
    documents: tuple[tuple[int, ...], ...] = ()
    """Numbers of the documents in each row, within their split."""

    @property
    def num_counted(self) -> int:
        """Positions that predict a target: the n of a mean loss."""
        return int((self.labels != IGNORED).sum())

    def inputs_of(self, model: PreTrainedModel) -> dict[str, Any]:
        """What the forward pass of a transformers model takes: a sliding window of the model is in the mask."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": masks_of(model.config, self.attention_mask),
        }


def make_batch(
    split: Split,
    rows: Sequence[Sequence[int]],
    *,
    sequence_length: int,
    pad_id: int,
    device: str | torch.device = "cpu",
) -> Batch:
    """Lay documents out in rows.

    Args:
        split: Holds the documents.
        rows: Numbers of the documents in each row, as `pack` gives them.
        sequence_length: T; rows that are not full are padded.
        pad_id: Token of the padding. A padded position sees itself alone: with nothing to see, attention would be
            0 / 0, and NaN would reach the gradient.
        device: Where the tensors go.
    """
    shape = (len(rows), sequence_length)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    position_ids = np.zeros(shape, dtype=np.int64)
    # Each padded position gets a number of its own, so that to the mask it is a document of one token.
    segments = np.tile(-1 - np.arange(sequence_length), (len(rows), 1))
    weights = None if split.weights is None else np.ones(shape, dtype=np.float32)
    for row, documents in enumerate(rows):
        end = 0
        for document in documents:
            ids, counted = _document(split, document)
            place = slice(end, end + len(ids))
            end = place.stop
            input_ids[row, place] = ids
            labels[row, place.start : end - 1] = np.where(counted[1:], ids[1:], IGNORED)
            position_ids[row, place] = np.arange(len(ids))
            segments[row, place] = document
            if weights is not None and split.weights is not None:
                weights[row, place] = split.weights[document]
    return Batch(
        input_ids=torch.from_numpy(input_ids).to(device),
        labels=torch.from_numpy(labels).to(device),
        position_ids=torch.from_numpy(position_ids).to(device),
        attention_mask=_mask(torch.from_numpy(segments).to(device)),
        names=tuple(tuple(split.names[document] for document in documents) for documents in rows),
        weights=None if weights is None else torch.from_numpy(weights).to(device),
        documents=tuple(tuple(documents) for documents in rows),
    )


def rows_for_step(num_rows: int, step: int, rows_per_step: int, seed: int) -> list[int]:
    """Rows of one optimizer step: a function of seed and step alone, so a run that goes on needs no saved order.

    Epochs follow one another without a gap: a step may take the last rows of one and the first of the next.

    Args:
        num_rows: Rows of the training split.
        step: Number of the step, from 0.
        rows_per_step: Rows that a step takes.
        seed: Decides each epoch's order.
    """
    first = step * rows_per_step
    return [
        int(_epoch_order(num_rows, place // num_rows, seed)[place % num_rows])
        for place in range(first, first + rows_per_step)
    ]


@lru_cache(maxsize=2)
def _epoch_order(num_rows: int, epoch: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def _document(split: Split, number: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    place = slice(int(split.starts[number]), int(split.starts[number + 1]))
    return split.ids[place], split.counted[place]


def _mask(segments: Tensor) -> Tensor:
    """[B, 1, T, T] causal within each segment; every position sees at least itself."""
    same = segments[:, None, :, None] == segments[:, None, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return same & causal
