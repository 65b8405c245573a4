"""The graph in 4 or 8 bits: MatMul becomes MatMulNBits, the embedding's Gather becomes GatherBlockQuantized.

Both are operators of `com.microsoft`, in every build of ONNX Runtime and in no other runtime. Runs in a process of
its own with a fixed number of threads, because sums over another number of threads round differently.

Shapes: K inputs and N outputs of a matrix, B blocks of inputs, V vocabulary, H width of an embedding.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.onnx.files import save_model
from export.quantization.calibration import gather_moments
from export.quantization.rounding import Floats, Grid, Rounded, pack_codes, round_matrix
from export.quantization.weights import read_model
from stillhouse import progress
from stillhouse.errors import Unavailable

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"
# Products of weights and activations that are rounded to 8 bits as well, each block of them with its own scale. At 4
# bits that costs far less than the weights do; at 8 bits more (KL 0.0035 nats and not 0.0010 for the demo's student),
# but without it ONNX Runtime has no fast product of 8-bit weights on CPUs: 7 tokens a second, and not 147.
INT8_COMPUTE = 4
# The first versions that know 4-bit tensors.
OPSET, IR_VERSION = 21, 10
MATRIX = 2


def quantize_graph(payload: dict[str, Any]) -> dict[str, Any]:
    """Write a variant's graph with every matrix in few bits.

    Args:
        payload: `onnx` (the `onnx-fp32` variant), `folder` (gets the graph), `work` (scratch), `bits` (4 or
            8), `block_size`, `symmetric`, `texts` (token ids to calibrate with; none: every weight to its nearest
            level), `threads`.

    Raises:
        Unavailable: If a matrix would be left in fp32: the model is not what optimum exports.
    """
    model = read_model(Path(payload["onnx"]))
    fold_transposes(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer if _is_matrix(tensor)}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    lookups = [node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in weights]
    _refuse_others(model, weights, products, lookups)
    grid = Grid(payload["bits"], payload["block_size"], payload["symmetric"])
    for node in lookups:
        weight_HV = np.ascontiguousarray(_weight(weights[node.input[0]]).T)
        _write_lookup(model.graph, node, round_matrix(weight_HV, grid))
    for done, (node, moments) in enumerate(_with_moments(products, weights, payload)):
        progress.step(f"quantizes matrices to {grid.bits} bits", done, len(products))
        rounded = round_matrix(_weight(weights[node.input[1]]), grid, moments_KK=moments)
        _write_product(model.graph, node, rounded)
    for tensor in weights.values():
        model.graph.initializer.remove(tensor)
    _declare_operators(model)
    save_model(model, Path(payload["folder"]))
    return {}


def fold_transposes(model: "onnx.ModelProto") -> None:
    """Replace each transposed weight by a weight of its own.

    A tied output head is `Transpose(embedding) -> MatMul`; only a MatMul of a stored weight can be replaced.
    """
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in stored]:
        order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), None)
        weight = numpy_helper.to_array(stored[node.input[0]]).transpose(order).copy()
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        graph.node.remove(node)


def _is_matrix(tensor: "onnx.TensorProto") -> bool:
    return tensor.data_type == tensor.FLOAT and len(tensor.dims) == MATRIX


def _refuse_others(
    model: "onnx.ModelProto",
    weights: dict[str, "onnx.TensorProto"],
    products: Sequence["onnx.NodeProto"],
    lookups: Sequence["onnx.NodeProto"],
) -> None:
    """Refuse a graph that reads a matrix otherwise: it would stay in fp32, and the variant large."""
    known = {node.output[0] for node in (*products, *lookups)}
    readers = [node for node in model.graph.node if weights.keys() & set(node.input)]
    others = [node for node in readers if node.output[0] not in known]
    if others:
        raise Unavailable(
            f"{len(others)} matrices cannot be quantized, that of the {others[0].op_type} {others[0].name} among "
            "them: only what a MatMul or a Gather reads can be; the other variants are not concerned"
        )


def _with_moments(
    products: Sequence["onnx.NodeProto"], weights: dict[str, "onnx.TensorProto"], payload: dict[str, Any]
) -> Iterator[tuple["onnx.NodeProto", NDArray[np.float64] | None]]:
    """Yield each matrix product with the moments of its input; with `None` where there is no text."""
    if not payload["texts"]:
        yield from ((node, None) for node in products)
        return
    widths = {node.input[0]: int(weights[node.input[1]].dims[0]) for node in products}
    gathered = gather_moments(
        Path(payload["onnx"]), widths, payload["texts"], work=Path(payload["work"]), threads=payload["threads"]
    )
    for moments in gathered:
        yield from ((node, moments[node.input[0]]) for node in products if node.input[0] in moments)


def _weight(tensor: "onnx.TensorProto") -> Floats:
    from onnx import numpy_helper

    weight: Floats = numpy_helper.to_array(tensor)
    return weight


def _write_product(graph: "onnx.GraphProto", node: "onnx.NodeProto", rounded: Rounded) -> None:
    """Make a MatMul a MatMulNBits, which wants `[N, B, bytes of a block]` codes and `[N, B]` scales."""
    from onnx import numpy_helper

    # Named after what it gives: two products may read one weight, and each has moments of its own.
    name, grid = node.output[0], rounded.grid
    codes_NK = rounded.codes_KN.T
    parts: dict[str, NDArray[Any]] = {
        f"{name}_Q{grid.bits}": pack_codes(codes_NK, grid.bits).reshape(len(codes_NK), len(rounded.scales_BN), -1),
        f"{name}_scales": rounded.scales_BN.T.copy(),
    }
    if not grid.symmetric:
        parts[f"{name}_zero_points"] = pack_codes(rounded.zeros_BN.T, grid.bits)
    attributes = {
        "K": rounded.num_inputs,
        "N": len(codes_NK),
        "bits": grid.bits,
        "block_size": grid.block_size,
        "accuracy_level": INT8_COMPUTE,
    }
    _rewrite(node, "MatMulNBits", [node.input[0], *parts], attributes)
    graph.initializer.extend(numpy_helper.from_array(array, part) for part, array in parts.items())


def _write_lookup(graph: "onnx.GraphProto", node: "onnx.NodeProto", rounded: Rounded) -> None:
    """Make a Gather a GatherBlockQuantized, which wants codes `[V, H]` and scales `[V, B]`."""
    from onnx import numpy_helper

    name, grid = node.output[0], rounded.grid
    codes_VH = rounded.codes_KN[: rounded.num_inputs].T
    parts = [
        _codes(f"{name}_Q{grid.bits}", codes_VH, grid),
        numpy_helper.from_array(rounded.scales_BN.T.copy(), f"{name}_scales"),
    ]
    if not grid.symmetric:
        parts.append(_codes(f"{name}_zero_points", rounded.zeros_BN.T, grid))
    names = [part.name for part in parts]
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": grid.block_size}
    if grid.bits == 8:
        # A byte may hold codes of 2, 4 or 8 bits; the types of 4 bits need no such word.
        attributes["bits"] = grid.bits
    _rewrite(node, "GatherBlockQuantized", [names[0], node.input[1], *names[1:]], attributes)
    graph.initializer.extend(parts)


def _codes(name: str, codes: NDArray[np.uint8], grid: Grid) -> "onnx.TensorProto":
    """Return a tensor whose zero is the grid's middle where it is symmetric, as no zero points say so."""
    from onnx import TensorProto, helper, numpy_helper

    if grid.bits == 8:
        # The operator takes no signed bytes, and the middle for the zero of unsigned ones.
        return numpy_helper.from_array(np.ascontiguousarray(codes), name)
    kind = TensorProto.UINT4
    if grid.symmetric:
        # Codes and type shift alike.
        kind, codes = TensorProto.INT4, ((codes - np.uint8(grid.middle)) & 15).astype(np.uint8)
    return helper.make_tensor(name, kind, codes.shape, pack_codes(codes.reshape(-1), grid.bits).tobytes(), raw=True)


def _rewrite(node: "onnx.NodeProto", operator: str, inputs: Sequence[str], attributes: dict[str, int]) -> None:
    from onnx import helper

    node.op_type, node.domain = operator, DOMAIN
    node.input[:] = inputs
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())


def _declare_operators(model: "onnx.ModelProto") -> None:
    from onnx import helper

    others = [opset for opset in model.opset_import if opset.domain not in ("", "ai.onnx", DOMAIN)]
    version = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", max(version, OPSET)), helper.make_opsetid(DOMAIN, 1), *others])
    model.ir_version = max(model.ir_version, IR_VERSION)
