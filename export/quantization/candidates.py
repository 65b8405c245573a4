"""Ways to quantize, compared with `onnx-fp32` on validation text, each read from its files.

Runs in a process without torch, as a serving team's would.
"""

from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.pieces import Piece
from evaluation.positions import compare_positions
from stillhouse import progress
from stillhouse.serving.decoder import Decoder


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
