"""The student in 4 bits: every matrix, the output head and the embedding, weights only.

Round to nearest, on purpose. Methods that look for the scale with the least squared error (HQQ, k-quant, a search
over clips) do badly on a student whose teacher was itself de-quantized from 4 bits: most weights still lie within
half a step of the teacher's own grid, the search finds that grid, and rounding to it undoes the distillation.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from export.onnx.export import MODEL, save_model
from export.quiet import quiet
from export.variants import copy_companions
from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.recipe.export import Int4
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Inputs

if TYPE_CHECKING:
    import onnx

# Products of 8-bit activations and 4-bit weights: several times faster on CPUs, at no measurable loss.
INT8_COMPUTE = 4
MATRIX = 2


class QuantizeInt4Settings(Settings):
    """How the variant is quantized."""

    int4: Int4
    """The recipe's section."""


def quantize_int4(settings: QuantizeInt4Settings, inputs: Inputs, folder: Path) -> None:
    """Quantize `inputs["onnx"]`, the `onnx-fp32` variant, into a folder that opens as that one does.

    MatMul becomes MatMulNBits, the embedding's Gather becomes GatherBlockQuantized; both belong to every build
    of ONNX Runtime, and to no other runtime.

    Raises:
        InputError: If a matrix is left in fp32: the model is not what optimum exports.
    """
    import onnx

    progress.step("quantizes to 4 bits")
    model = onnx.load(inputs["onnx"] / MODEL)
    fold_transposes(model)
    quantized = _quantize(model, settings.int4)
    left = _matrices(quantized)
    if left:
        raise InputError(
            f"{len(left)} matrices could not be quantized, {left[0]} among them: only those that a MatMul or a "
            "Gather reads can be; leave onnx-int4 out of export.variants"
        )
    save_model(quantized, folder)
    copy_companions(inputs["onnx"], folder)


def fold_transposes(model: "onnx.ModelProto") -> None:
    """Replace each transposed weight by a weight of its own.

    A tied output head is `Transpose(embedding) -> MatMul`; the quantizer takes a MatMul of a stored weight only.
    """
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in stored]:
        order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
        weight = numpy_helper.to_array(stored[node.input[0]]).transpose(order).copy()
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        graph.node.remove(node)


def _quantize(model: "onnx.ModelProto", int4: Int4) -> "onnx.ModelProto":
    # The quantizer talks of every node, and configures the root logger when it is imported.
    with quiet("onnxruntime.quantization.matmul_nbits_quantizer"):
        from onnxruntime.quantization.matmul_nbits_quantizer import (
            DefaultWeightOnlyQuantConfig,
            MatMulNBitsQuantizer,
        )

        config = DefaultWeightOnlyQuantConfig(
            block_size=int4.block_size,
            is_symmetric=int4.symmetric,
            accuracy_level=INT8_COMPUTE,
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
        )
        quantizer = MatMulNBitsQuantizer(model, nodes_to_exclude=_other_gathers(model), algo_config=config)
        quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def _other_gathers(model: "onnx.ModelProto") -> list[str]:
    """Return the Gathers that read something else than a matrix, a shape for instance."""
    matrices = _matrices(model)
    gathers = (node for node in model.graph.node if node.op_type == "Gather")
    return [node.name for node in gathers if node.input[0] not in matrices]


def _matrices(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the weights that are matrices in floating point."""
    from onnx import TensorProto

    return [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == MATRIX and not _is_scale(tensor.name)
    ]


def _is_scale(name: str) -> bool:
    return name.endswith("_scales")
