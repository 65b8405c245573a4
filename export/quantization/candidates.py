"""Ways to quantize, compared with `onnx-fp32` on validation text, each read from its files.

Runs in a process without torch, as a serving team's would.
"""

from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.positions import compare_positions
from stillhouse import progress
from stillhouse.data.dataset import Split
from stillhouse.serving.decoder import Decoder


@dataclass(frozen=True)
class Piece:
    """A document of the validation split, or one piece of a long one."""

    ids: list[int]
    positions: list[int]
    """Where a counted token is predicted: one before each of them."""
    num_bytes: int
    """UTF-8 bytes that the counted tokens spell."""


@dataclass(frozen=True)
class Candidate:
    """A way to quantize that was tried; the fields are those of `evaluation.results.Candidate`."""

    kind: str
    chosen: bool
    kl_to_fp32: float
    """KL(onnx-fp32 || candidate), nats per token."""
    bits_per_byte: float
    size_bytes: int
    """Of the graph and its weights."""
    validation_tokens: int


def first_pieces(split: Split, budget: int) -> list[Piece]:
    """Return the first documents that hold `budget` counted tokens, or all of them; the last is read to its end."""
    chosen: list[Piece] = []
    left = budget
    for start, end, num_bytes in zip(split.starts[:-1], split.starts[1:], split.num_bytes, strict=True):
        positions = np.flatnonzero(split.counted[start:end][1:]).tolist()
        if positions and left > 0:
            chosen.append(Piece(split.ids[start:end].tolist(), positions, int(num_bytes)))
            left -= len(positions)
    return chosen


def compare_candidate(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure one candidate on the same positions as the variant that it was made of.

    Args:
        payload: `reference` and `candidate` (folders), `pieces` (fields of `Piece`), `threads`.

    Returns:
        `kl_to_fp32`, `bits_per_byte`, `validation_tokens`; the first two `None` if logits are not finite.
    """
    pieces = [Piece(**piece) for piece in payload["pieces"]]
    reference, candidate = (
        Decoder.open(Path(payload[name]), threads=payload["threads"]) for name in ("reference", "candidate")
    )
    sums = np.zeros(4)
    for done, piece in enumerate(pieces):
        progress.step("compares a way to quantize with onnx-fp32", done, len(pieces))
        labels = np.asarray(piece.ids)[np.asarray(piece.positions) + 1]
        expected, found = (model.logits(piece.ids)[piece.positions] for model in (reference, candidate))
        sums += compare_positions(expected, found, labels)
    tokens = sum(len(piece.positions) for piece in pieces)
    nats, _, kl, _ = sums.tolist()
    finite = isfinite(nats) and isfinite(kl)
    return {
        "kl_to_fp32": kl / tokens if finite else None,
        "bits_per_byte": nats / log(2) / sum(piece.num_bytes for piece in pieces) if finite else None,
        "validation_tokens": tokens,
    }
