"""The stage `quantize_int4`: the student in 4 bits, every matrix, the output head and the embedding, weights only."""

import shutil
from pathlib import Path

from pydantic import PositiveInt

from export.quantization import graph
from export.variants import copy_companions
from stillhouse import child
from stillhouse.data.dataset import read_split
from stillhouse.recipe.export import Int4
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import WORK, Inputs


class QuantizeInt4Settings(Settings):
    """How the variant is quantized."""

    int4: Int4
    """The recipe's section."""
    threads: PositiveInt = 1
    """CPU threads; they decide how sums round, and so the last bits of a few weights."""


def quantize_int4(settings: QuantizeInt4Settings, inputs: Inputs, folder: Path) -> None:
    """Quantize `inputs["onnx"]`, the `onnx-fp32` variant, into a folder that opens as that one does.

    GPTQ calibrates on the beginning of the training split of `inputs["dataset"]`; held-out text stays unseen.

    Raises:
        Unavailable: If a matrix would be left in fp32: the model is not what optimum exports.
    """
    int4 = settings.int4
    texts = _texts(inputs["dataset"], int4.calibration_tokens) if int4.method == "gptq" else []
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    payload = {
        "onnx": str(inputs["onnx"]),
        "folder": str(folder),
        "work": str(work),
        "bits": 4,
        "block_size": int4.block_size,
        "symmetric": int4.symmetric,
        "texts": texts,
        "threads": settings.threads,
    }
    child.run(f"{graph.__name__}:quantize_graph", payload, threads=settings.threads)
    copy_companions(inputs["onnx"], folder)


def _texts(dataset: Path, budget: int) -> list[list[int]]:
    """Return the first training documents, the last one cut, that hold `budget` tokens together."""
    split = read_split(dataset, "train")
    starts = split.starts[split.starts < budget].tolist()
    ends = [*starts[1:], min(budget, split.num_tokens)]
    return [split.ids[start:end].tolist() for start, end in zip(starts, ends, strict=True) if end > start]
