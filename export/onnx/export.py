"""The student as ONNX in fp32: optimum's export, which torch-free serving opens."""

import shutil
import warnings
from pathlib import Path

from export.onnx.files import MODEL, save_model
from export.variants import copy_companions
from stillhouse import progress
from stillhouse.errors import Unavailable
from stillhouse.quiet import quiet_loggers
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import WORK, Inputs

_NOISY = ("optimum", "transformers", "torch.onnx")


class ExportOnnxSettings(Settings):
    """Nothing to choose: fp32, key-value cache, the opset that optimum has proven for the architecture."""


def export_onnx(settings: ExportOnnxSettings, inputs: Inputs, folder: Path) -> None:
    """Export `inputs["student"]` to a folder that opens alone.

    `stillhouse.serving.decoder.Decoder`, a plain ONNX Runtime session and optimum's
    `ORTModelForCausalLM.from_pretrained` all read it.

    Raises:
        Unavailable: If optimum does not know the architecture.
    """
    import onnx
    from optimum.exporters.onnx import main_export

    progress.step("exports the student to ONNX")
    work = folder / WORK
    # optimum appends to external data that lies there already, so a killed attempt is not built upon.
    shutil.rmtree(work, ignore_errors=True)
    # What the tracer warns of, `evaluation/parity.py` measures.
    try:
        with quiet_loggers(*_NOISY), warnings.catch_warnings(action="ignore"):
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
    except (ValueError, KeyError, NotImplementedError) as error:
        raise Unavailable(f"optimum cannot export this architecture: {str(error).splitlines()[0]}") from error
    save_model(onnx.load(work / MODEL), folder)
    copy_companions(inputs["student"], folder)
