"""The student as ONNX in fp32: optimum's export, which torch-free serving opens.

The weights go beside the graph as external data: ONNX Runtime maps them into memory, where weights inside the
protobuf would be held twice while they load.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from export.quiet import quiet
from export.variants import copy_companions
from stillhouse import progress
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import WORK, Inputs

if TYPE_CHECKING:
    import onnx

MODEL = "model.onnx"
DATA = "model.onnx_data"
INLINE_BYTES = 1024
NOISY = ("optimum", "transformers", "torch.onnx")


class ExportOnnxSettings(Settings):
    """Nothing to choose: fp32, key-value cache, the opset that optimum has proven for the architecture."""


def export_onnx(settings: ExportOnnxSettings, inputs: Inputs, folder: Path) -> None:
    """Export `inputs["student"]` to a folder that opens alone.

    `stillhouse.serving.decoder.Decoder`, a plain ONNX Runtime session and optimum's
    `ORTModelForCausalLM.from_pretrained` all read it.
    """
    import onnx
    from optimum.exporters.onnx import main_export

    progress.step("exports the student to ONNX")
    work = folder / WORK
    # optimum appends to external data that lies there already, so a killed attempt is not built upon.
    shutil.rmtree(work, ignore_errors=True)
    # What the tracer warns of, `evaluation/parity.py` measures.
    with quiet(*NOISY):
        main_export(
            str(inputs["student"]),
            output=work,
            task="text-generation-with-past",
            dtype="fp32",
            framework="pt",
            library_name="transformers",
            local_files_only=True,
            do_validation=False,
        )
    save_model(onnx.load(work / MODEL), folder)
    copy_companions(inputs["student"], folder)
    shutil.rmtree(work)


def save_model(model: "onnx.ModelProto", folder: Path) -> None:
    """Write `model.onnx`, and its weights beside it in `model.onnx_data`."""
    import onnx

    # onnx appends to a data file that exists.
    (folder / DATA).unlink(missing_ok=True)
    onnx.save_model(model, folder / MODEL, save_as_external_data=True, location=DATA, size_threshold=INLINE_BYTES)
    for name in (MODEL, DATA):
        if (folder / name).exists():
            (folder / name).chmod(0o644)
