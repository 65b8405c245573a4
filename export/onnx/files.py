"""How a variant's graph and weights lie on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

MODEL = "model.onnx"
DATA = "model.onnx_data"
INLINE_BYTES = 1024


def save_model(model: "onnx.ModelProto", folder: Path) -> None:
    """Write `model.onnx`, and its weights beside it in `model.onnx_data`.

    As external data ONNX Runtime maps the weights into memory; inside the protobuf they would be held twice while
    they load.
    """
    import onnx

    # onnx appends to a data file that exists.
    (folder / DATA).unlink(missing_ok=True)
    onnx.save_model(model, folder / MODEL, save_as_external_data=True, location=DATA, size_threshold=INLINE_BYTES)
    for name in (MODEL, DATA):
        # onnx writes for the owner's eyes only; a package is read by another account.
        if (folder / name).exists():
            (folder / name).chmod(0o644)
