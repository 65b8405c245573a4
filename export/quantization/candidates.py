"""Ways to quantize, compared with `onnx-fp32` on validation text, each read from its files.

Runs in a process without torch, as a serving team's would.
"""

from collections.abc import Sequence
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.pieces import Piece
from evaluation.positions import compare_positions
from export.onnx.files import DATA, MODEL
from stillhouse import progress
from stillhouse.serving.decoder import Decoder


def compare_candidates(payload: dict[str, Any]) -> dict[str, Any]:
    """Measure candidates on the same positions as the variant that they were made of, which reads each text once.

    Args:
        payload: `reference` (folder), `candidates` (folder of each, by its kind), `pieces` (fields of `Piece`) and
            `threads`.

    Returns:
        Of each kind `kl_to_fp32` (KL(onnx-fp32 || candidate), nats per token) and `bits_per_byte`, both `None` if
        logits are not finite, `size_bytes` of graph and weights, and `validation_tokens`.
    """
    pieces = [Piece(**piece) for piece in payload["pieces"]]
    folders = {kind: Path(folder) for kind, folder in payload["candidates"].items()}
    reference = Decoder.open(Path(payload["reference"]), threads=payload["threads"])
    models = {kind: Decoder.open(folder, threads=payload["threads"]) for kind, folder in folders.items()}
    sums = {kind: np.zeros(4) for kind in models}
    for done, piece in enumerate(pieces):
        progress.step("compares ways to quantize with onnx-fp32", done, len(pieces))
        expected_PV = reference.logits(piece.ids)[piece.positions]
        for kind, model in models.items():
            sums[kind] += compare_positions(expected_PV, model.logits(piece.ids)[piece.positions], piece.labels)
    return {kind: _figures(sums[kind], pieces, folder) for kind, folder in folders.items()}


def _figures(sums: NDArray[np.float64], pieces: Sequence[Piece], folder: Path) -> dict[str, Any]:
    """Divide what `compare_positions` summed."""
    nats, _, kl, _ = sums.tolist()
    tokens = sum(len(piece.positions) for piece in pieces)
    finite = isfinite(nats) and isfinite(kl)
    return {
        "kl_to_fp32": kl / tokens if finite else None,
        "bits_per_byte": nats / log(2) / sum(piece.num_bytes for piece in pieces) if finite else None,
        "size_bytes": sum((folder / name).stat().st_size for name in (MODEL, DATA)),
        "validation_tokens": tokens,
    }
