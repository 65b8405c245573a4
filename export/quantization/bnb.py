"""The stage `quantize_bnb`: the student as bitsandbytes and transformers quantize it, for whoever serves with torch.

The matrices of the blocks are in 8 or 4 bits. Embedding and output head, in a small model half of the file, stay in
bfloat16, as the norms do: bitsandbytes has no lookup of quantized rows, and the head is tied to the embedding.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from export.quantization import bnb_child
from export.variants import copy_companions
from stillhouse import child, progress
from stillhouse.errors import Unavailable
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import WORK, Inputs

BnbKind = Literal["bnb-int8", "bnb-nf4"]

# What a file gives back differs from what was in memory by nothing, or by everything.
_ALLOWED_DIFFERENCE = 0.01


class QuantizeBnbSettings(Settings):
    """Which of the two is made, and where."""

    kind: BnbKind
    """`bnb-int8`: LLM.int8(), activations in 8 bits but for outliers (Dettmers et al., 2022); `bnb-nf4`: weights at
    16 quantiles of the normal distribution, and their scales in 8 bits (Dettmers et al., QLoRA, 2023)."""
    device: str = "cpu"
    """A torch device, which must also be able to run the result."""
    threads: PositiveInt = 1
    """CPU threads."""


def quantize_bnb(settings: QuantizeBnbSettings, inputs: Inputs, folder: Path) -> None:
    """Quantize `inputs["student"]` into a folder that `AutoModelForCausalLM.from_pretrained` opens.

    With `dtype="auto"` it opens as it is measured, but on a CPU without arithmetic for that (`load_model`). Left out,
    transformers 4 makes of the parts in bfloat16 float16, as good, and slower on CPUs; transformers 5 means "auto".

    The folder is opened again in a process of its own, and must answer as the model in memory did: a bitsandbytes
    model that is saved after it ran can come back as noise, without an error.

    Raises:
        Unavailable: If bitsandbytes is missing, or cannot quantize or run this model on this device.
        RuntimeError: If the folder does not hold what was in memory.
    """
    if find_spec("bitsandbytes") is None:
        raise Unavailable("bitsandbytes is not installed here")
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    made, memory, file = work / "model", work / "memory.npy", work / "file.npy"
    payload = {**settings.model_dump(), "student": str(inputs["student"])}
    progress.step("quantizes with bitsandbytes")
    told = {**payload, "folder": str(made), "logits": str(memory)}
    child.run(f"{bnb_child.__name__}:quantize", told, threads=settings.threads)
    copy_companions(inputs["student"], folder)
    for name in ("config.json", "model.safetensors"):
        # A rename takes the place of the companion there, which is the student's own file.
        (made / name).replace(folder / name)
        # safetensors writes for the owner's eyes only; a package is read by another account.
        (folder / name).chmod(0o644)
    progress.step("opens what was written")
    told = {**payload, "folder": str(folder), "logits": str(file)}
    child.run(f"{bnb_child.__name__}:reopen", told, threads=settings.threads)
    _refuse_corruption(settings.kind, np.load(memory), np.load(file))


def _refuse_corruption(kind: BnbKind, memory_TV: NDArray[np.float32], file_TV: NDArray[np.float32]) -> None:
    """Compare logits of the saved folder with those of the model in memory."""
    difference = np.linalg.norm(file_TV - memory_TV) / np.linalg.norm(memory_TV)
    # Written such that a difference that is not a number is refused too.
    if not difference <= _ALLOWED_DIFFERENCE:
        raise RuntimeError(
            f"{kind} was corrupted as it was saved: logits of the reopened folder differ from those of the model in "
            f"memory by {difference:.3g} of their size, {_ALLOWED_DIFFERENCE} is allowed; this version of "
            "bitsandbytes writes what it cannot read"
        )
