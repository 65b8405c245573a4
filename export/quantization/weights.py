"""The weights of a graph, read from where they lie."""

from pathlib import Path
from typing import TYPE_CHECKING

from export.onnx.files import MODEL

if TYPE_CHECKING:
    import onnx


def read_model(variant: Path) -> "onnx.ModelProto":
    """Read a variant's graph with its weights.

    `onnx.load` refuses weights in a file of several hard links as a possible attack. An artifact's file has one in
    each package that holds it, so the second run over a store would fail.
    """
    import onnx

    model = onnx.load(variant / MODEL, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            tensor.raw_data = _read(variant / Path(place["location"]).name, int(place["offset"]), int(place["length"]))
            tensor.data_location = tensor.DEFAULT
            del tensor.external_data[:]
    return model


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
