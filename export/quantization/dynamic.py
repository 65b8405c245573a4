"""The graph in int8 as it is made most often: weights before, activations while it runs, one scale for a whole tensor.

A decoder has a few activations a thousand times larger than the rest. They set the scale, and the rest is rounded to
nothing (Dettmers et al., LLM.int8(), 2022), so this loses far more than weights alone in 8 bits. It is here to show.
"""

from pathlib import Path
from typing import Any

from export.onnx.files import MODEL, save_model
from export.quantization.graph import fold_transposes
from export.quantization.weights import read_model
from stillhouse import progress
from stillhouse.errors import Unavailable
from stillhouse.quiet import quiet_loggers

# The matrices of `weight-only`, so that two candidates of nearly one size are compared.
_OPERATORS = ["MatMul", "Gather"]


def quantize_dynamically(payload: dict[str, Any]) -> dict[str, Any]:
    """Write a variant's graph as `onnxruntime.quantization.quantize_dynamic` makes it, a scale for each column.

    Args:
        payload: `onnx` (the `onnx-fp32` variant), `folder` (gets the graph), `work` (scratch).

    Raises:
        Unavailable: If no matrix product was replaced: the model is not what optimum exports.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    progress.step("quantizes weights and activations to 8 bits")
    folder, work = Path(payload["folder"]), Path(payload["work"])
    model = read_model(Path(payload["onnx"]))
    # Otherwise a tied output head would stay in fp32.
    fold_transposes(model)
    save_model(model, work)
    quantized = work / "quantized.onnx"
    # The quantizer's advice to prepare the graph comes through the root logger.
    with quiet_loggers("root"):
        quantize_dynamic(
            work / MODEL,
            quantized,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
    # Read and written again, for weights that lie on disk as those of the other variants.
    model = onnx.load(quantized)
    if not any(node.op_type == "MatMulInteger" for node in model.graph.node):
        raise Unavailable("no matrix can be quantized: the graph holds no MatMul of a stored weight")
    save_model(model, folder)
    return {}
