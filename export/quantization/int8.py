"""The stage `quantize_int8`: the student in 8 bits, of the kind that loses less on validation text."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from evaluation.pieces import Piece, first_pieces
from export.onnx.files import DATA, MODEL
from export.quantization import candidates, dynamic, graph
from export.variants import copy_companions
from stillhouse import child
from stillhouse.data.dataset import read_split
from stillhouse.errors import InputError, Unavailable
from stillhouse.recipe.export import Int8, Int8Kind
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs

logger = logging.getLogger(__name__)


class QuantizeInt8Settings(Settings):
    """Which kinds are tried, and on how much text."""

    int8: Int8
    """The recipe's section."""
    threads: PositiveInt = 1
    """CPU threads; they decide how sums round."""


def quantize_int8(settings: QuantizeInt8Settings, inputs: Inputs, folder: Path) -> None:
    """Quantize `inputs["onnx"]`, the `onnx-fp32` variant, into a folder that opens as that one does.

    Every kind is made, opened and compared with `onnx-fp32` on the beginning of the validation split of
    `inputs["dataset"]`; the one of the lowest KL ships. `facts.json` holds its `kind` and the `candidates`.

    Raises:
        Unavailable: If the model can be quantized in none of the ways.
        InputError: If the validation split has no counted tokens.
    """
    pieces = first_pieces(read_split(inputs["dataset"], "validation"), settings.int8.validation_tokens)
    if not pieces:
        raise InputError(
            "onnx-int8 is chosen on validation text: the validation split has 0 counted tokens, at least 1 is "
            "needed; raise data.validation_tokens or leave onnx-int8 out"
        )
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    made, reasons = _make_all(settings, inputs["onnx"], work)
    found = _compare(inputs["onnx"], made, pieces, settings.threads)
    losses = {kind: figures["kl_to_fp32"] for kind, figures in found.items() if figures["kl_to_fp32"] is not None}
    reasons |= {kind: "its logits on validation text are not finite" for kind in found if kind not in losses}
    for kind, reason in reasons.items():
        logger.warning("onnx-int8 is chosen without a candidate, %s: %s", kind, reason)
    if not losses:
        raise Unavailable("; ".join(f"{kind}: {reason}" for kind, reason in reasons.items()))
    best = min(losses, key=lambda kind: losses[kind])
    for name in (MODEL, DATA):
        (made[best] / name).replace(folder / name)
    copy_companions(inputs["onnx"], folder)
    shown = [{"kind": kind, "chosen": kind == best, **found[kind]} for kind in losses]
    (folder / FACTS).write_text(json.dumps({"kind": best, "candidates": shown}, indent=1) + "\n", encoding="utf-8")


def _make_all(settings: QuantizeInt8Settings, onnx: Path, work: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the folder of each kind that could be made, and why each of the others could not."""
    made: dict[str, Path] = {}
    reasons: dict[str, str] = {}
    for kind in settings.int8.kinds:
        try:
            made[kind] = _make(kind, settings, onnx, work / kind)
        except Unavailable as error:
            reasons[kind] = str(error)
    return made, reasons


def _make(kind: Int8Kind, settings: QuantizeInt8Settings, onnx: Path, folder: Path) -> Path:
    """Make a candidate that opens as a variant does."""
    work = folder / WORK
    work.mkdir(parents=True)
    payload: dict[str, Any] = {"onnx": str(onnx), "folder": str(folder), "work": str(work)}
    match kind:
        case "weight-only":
            function = f"{graph.__name__}:quantize_graph"
            # Without zero points: of 256 levels a lopsided block wastes few. With them, the demo's student lost 7%
            # less KL and was 3% larger. To the nearest level: activations, rounded too, lose more than weights.
            payload |= {"bits": 8, "block_size": settings.int8.block_size, "symmetric": True, "texts": []}
            payload |= {"threads": settings.threads}
        case "dynamic":
            function = f"{dynamic.__name__}:quantize_dynamically"
    child.run(function, payload, threads=settings.threads)
    shutil.rmtree(work)
    copy_companions(onnx, folder)
    return folder


def _compare(onnx: Path, made: dict[str, Path], pieces: list[Piece], threads: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each candidate, as in `candidates.compare_candidates`."""
    if not made:
        return {}
    payload = {
        "reference": str(onnx),
        "candidates": {kind: str(folder) for kind, folder in made.items()},
        "pieces": [asdict(piece) for piece in pieces],
        "threads": threads,
    }
    return child.run(f"{candidates.__name__}:compare_candidates", payload, threads=threads)
