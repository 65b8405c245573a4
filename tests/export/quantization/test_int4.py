import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.quantization.graph import fold_transposes
from export.quantization.int4 import QuantizeInt4Settings, _texts, quantize_int4
from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import Unavailable
from stillhouse.recipe.export import Int4
from stillhouse.serving.decoder import Decoder

SETTINGS = QuantizeInt4Settings(int4=Int4(block_size=16, symmetric=True, method="nearest"))
GPTQ = QuantizeInt4Settings(int4=Int4(block_size=16, symmetric=False, method="gptq", calibration_tokens=500))


def _make(settings: QuantizeInt4Settings, inputs: dict[str, Path], folder: Path) -> None:
    """Make the variant, and remove the stage's scratch as the store does."""
    quantize_int4(settings, inputs, folder)
    shutil.rmtree(folder / "work")


@pytest.fixture(scope="module")
def variant(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-int4")
    _make(SETTINGS, {"onnx": tiny_onnx}, folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training text of ten documents of 100 tokens, drawn from few tokens so that inputs go together."""
    folder = tmp_path_factory.mktemp("dataset")
    ids = np.random.default_rng(0).choice([5, 9, 60, 61, 62, 200], size=1000)
    counted, starts = np.ones(1000, dtype=np.bool_), np.arange(0, 1001, 100)
    write_split(folder, "train", Split(ids, counted, starts, np.full(10, 1), tuple("abcdefghij")))
    return folder


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _to_nearest(weight_KN: np.ndarray, block: int) -> np.ndarray:
    """Symmetric round to nearest, written down again: the largest of a block becomes -8 steps."""
    blocks = weight_KN.T.reshape(weight_KN.shape[1], -1, block)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1, keepdims=True), -1)
    scale = np.where(largest == 0, 1, largest / -8)
    return (np.clip(np.round(blocks / scale), -8, 7) * scale).reshape(weight_KN.T.shape).T


def test_the_same_model_gives_the_same_bytes(variant: Path, tiny_onnx: Path, tmp_path: Path):
    _make(SETTINGS, {"onnx": tiny_onnx}, tmp_path)
    assert _bytes(tmp_path) == _bytes(variant)


def test_no_matrix_is_left_in_fp32(variant: Path, tiny_onnx: Path):
    graph = onnx.load(variant / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    # Seven matrices in each of two layers, and the head that is tied to the embedding.
    assert kinds.count("MatMulNBits") == 15
    assert kinds.count("GatherBlockQuantized") == 1
    assert "Transpose" not in [node.op_type for node in graph.node if node.output[0].endswith("_transposed")]
    assert (variant / "model.onnx_data").stat().st_size < 0.35 * (tiny_onnx / "model.onnx_data").stat().st_size


def test_logits_are_those_of_weights_rounded_to_nearest(variant: Path, tiny_model: Path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = [5, 60, 70, 80, 90]
    with torch.inference_mode():
        exact = model(torch.tensor([ids])).logits[0].numpy()
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data = torch.from_numpy(_to_nearest(parameter.data.numpy().T, 16).T.copy())
        expected = model(torch.tensor([ids])).logits[0].numpy()
    found = Decoder.open(variant, threads=1).logits(ids)
    # Activations are rounded to 8 bits on top, which costs little beside the weights.
    assert (found - expected).std() < 0.2 * (exact - expected).std()


def test_gptq_loses_less_of_the_logits_than_the_nearest_level(tiny_onnx: Path, dataset: Path, tmp_path: Path):
    ids = np.random.default_rng(1).choice([5, 9, 60, 61, 62, 200], size=100).tolist()
    expected = Decoder.open(tiny_onnx, threads=1).logits(ids)
    lost = []
    for method in ("nearest", "gptq"):
        settings = QuantizeInt4Settings(int4=GPTQ.int4.model_copy(update={"method": method}))
        _make(settings, {"onnx": tiny_onnx, "dataset": dataset}, tmp_path / method)
        lost.append(np.linalg.norm(Decoder.open(tmp_path / method, threads=1).logits(ids) - expected))
    assert lost[1] < 0.8 * lost[0]
    _make(GPTQ, {"onnx": tiny_onnx, "dataset": dataset}, tmp_path / "again")
    assert _bytes(tmp_path / "again") == _bytes(tmp_path / "gptq")


def test_gptq_leaves_the_variant_that_it_reads_as_it_is(tiny_onnx: Path, dataset: Path, tmp_path: Path):
    before = _bytes(tiny_onnx)
    _make(GPTQ, {"onnx": tiny_onnx, "dataset": dataset}, tmp_path)
    assert _bytes(tiny_onnx) == before
    assert set(_bytes(tmp_path)) == set(before)


def test_calibration_reads_the_asked_tokens_and_no_more(dataset: Path):
    assert [len(text) for text in _texts(dataset, 250)] == [100, 100, 50]
    assert [len(text) for text in _texts(dataset, 100)] == [100]
    assert sum(len(text) for text in _texts(dataset, 5000)) == 1000


def test_optimum_opens_it(variant: Path):
    from optimum.onnxruntime import ORTModelForCausalLM

    ids = [5, 6, 7, 8]
    model = ORTModelForCausalLM.from_pretrained(variant)
    found = model(torch.tensor([ids]), attention_mask=torch.ones(1, 4, dtype=torch.int64)).logits[0]
    np.testing.assert_allclose(found.numpy(), Decoder.open(variant, threads=1).logits(ids), atol=1e-5)


def _one_layer(kind: str) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "weight")
    nodes = [
        helper.make_node("Transpose", ["weight"], ["turned"]),
        helper.make_node(kind, ["x", "turned"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "one", values[:1], values[1:], [weight]))


def test_a_transposed_weight_becomes_a_weight():
    model = _one_layer("MatMul")
    fold_transposes(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    turned = next(tensor for tensor in model.graph.initializer if tensor.name == "turned")
    np.testing.assert_array_equal(numpy_helper.to_array(turned), [[0, 3], [1, 4], [2, 5]])


def test_a_matrix_that_cannot_be_quantized_is_an_error_and_not_a_larger_file(tmp_path: Path):
    onnx.save(_one_layer("Gemm"), tmp_path / "model.onnx")
    with pytest.raises(Unavailable, match="1 matrices cannot be quantized, that of the Gemm"):
        quantize_int4(SETTINGS, {"onnx": tmp_path}, tmp_path / "out")
