"""The stage `quantize_int8`: the student in 8 bits, of the kind that loses less on validation text."""

import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from evaluation.pieces import Piece, first_pieces
from export.onnx.files import DATA, MODEL
from export.quantization import candidates, dynamic, graph
from export.quantization.candidates import Candidate
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
    tried: list[Candidate] = []
    reasons: list[str] = []
    for kind in settings.int8.kinds:
        try:
            made = _make(kind, settings, inputs["onnx"], work / kind)
            tried.append(_measure(kind, inputs["onnx"], made, pieces, settings.threads))
        except Unavailable as error:
            reasons.append(f"{kind}: {error}")
            logger.warning("onnx-int8 is chosen without a candidate, %s", reasons[-1])
    if not tried:
        raise Unavailable("; ".join(reasons))
    best = min(tried, key=lambda candidate: candidate.kl_to_fp32)
    for name in (MODEL, DATA):
        (work / best.kind / name).replace(folder / name)
    copy_companions(inputs["onnx"], folder)
    shutil.rmtree(work)
    shown = [asdict(replace(candidate, chosen=candidate is best)) for candidate in tried]
    (folder / FACTS).write_text(json.dumps({"kind": best.kind, "candidates": shown}, indent=1) + "\n", encoding="utf-8")


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


def _measure(kind: Int8Kind, onnx: Path, made: Path, pieces: list[Piece], threads: int) -> Candidate:
    """Compare a candidate with what it was made of."""
    payload = {
        "reference": str(onnx),
        "candidate": str(made),
        "pieces": [asdict(piece) for piece in pieces],
        "threads": threads,
    }
    found = child.run(f"{candidates.__name__}:compare_candidate", payload, threads=threads)
    if found["kl_to_fp32"] is None:
        raise Unavailable("its logits on validation text are not finite")
    size_bytes = sum((made / name).stat().st_size for name in (MODEL, DATA))
    return Candidate(kind=kind, chosen=False, size_bytes=size_bytes, **found)
