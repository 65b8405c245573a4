import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from evaluation.pieces import first_pieces
from evaluation.results import Candidate
from export.quantization.candidates import compare_candidates
from export.quantization.int8 import QuantizeInt8Settings, quantize_int8
from export.quantization.weights import read_model
from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import InputError, Unavailable
from stillhouse.recipe.export import Int8
from stillhouse.serving.decoder import Decoder

SETTINGS = QuantizeInt8Settings(int8=Int8(block_size=16, validation_tokens=256))
IDS = [5, 60, 70, 80, 90, 200, 7]


def _split(documents: int) -> Split:
    """Documents of 100 tokens, the first 10 of each a prompt, whose targets spell 250 bytes."""
    ids = np.random.default_rng(0).integers(3, 300, size=100 * documents)
    counted = np.tile(np.arange(100) >= 10, documents)
    names = tuple(str(number) for number in range(documents))
    return Split(ids, counted, np.arange(documents + 1) * 100, np.full(documents, 250), names)


def _make(settings: QuantizeInt8Settings, inputs: dict[str, Path], folder: Path) -> None:
    """Make the variant, and remove the stage's scratch as the store does."""
    quantize_int8(settings, inputs, folder)
    shutil.rmtree(folder / "work")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_split(folder, "validation", _split(4))
    return folder


@pytest.fixture(scope="module")
def variant(tiny_onnx: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-int8")
    _make(SETTINGS, {"onnx": tiny_onnx, "dataset": dataset}, folder)
    return folder


def _of_kind(*kinds: str) -> QuantizeInt8Settings:
    return SETTINGS.model_copy(update={"int8": SETTINGS.int8.model_copy(update={"kinds": kinds})})


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_kinds_are_shown_and_the_one_that_loses_less_ships(variant: Path, tiny_onnx: Path):
    facts = json.loads((variant / "facts.json").read_text())
    # The results' own class takes them, field for field.
    weight_only, dynamic = (Candidate(**candidate) for candidate in facts["candidates"])
    assert set(facts["candidates"][0]) == set(Candidate.model_fields)
    assert (weight_only.kind, dynamic.kind) == ("weight-only", "dynamic")
    assert facts["kind"] == "weight-only" and weight_only.chosen and not dynamic.chosen
    assert 0 < weight_only.kl_to_fp32 < dynamic.kl_to_fp32
    # Documents hold 90 counted tokens, and the third reaches 256.
    assert weight_only.validation_tokens == dynamic.validation_tokens == 270
    shipped = sum((variant / name).stat().st_size for name in ("model.onnx", "model.onnx_data"))
    assert weight_only.size_bytes == shipped
    assert sorted(_bytes(variant)) == sorted([*_bytes(tiny_onnx), "facts.json"])
    assert (variant / "model.onnx_data").stat().st_mode & 0o044 == 0o044


def test_the_figures_are_those_worked_out_from_the_logits(variant: Path, tiny_onnx: Path):
    found = json.loads((variant / "facts.json").read_text())["candidates"][0]
    split, kl, nats = _split(3), 0.0, 0.0
    for start in (0, 100, 200):
        ids = split.ids[start : start + 100].tolist()
        p, q = (Decoder.open(each, threads=1).logits(ids)[9:99].astype(np.float64) for each in (tiny_onnx, variant))
        p, q = (each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in (p, q))
        kl += (np.exp(p) * (p - q)).sum()
        nats -= q[np.arange(90), ids[10:]].sum()
    assert found["kl_to_fp32"] == pytest.approx(kl / 270, rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / 750, rel=1e-6)


def test_no_matrix_is_left_in_fp32(variant: Path, tiny_onnx: Path):
    kinds = [node.op_type for node in onnx.load(variant / "model.onnx").graph.node]
    assert (kinds.count("MatMulNBits"), kinds.count("GatherBlockQuantized")) == (15, 1)
    # A byte a weight, and four more for each block of 16.
    assert (variant / "model.onnx_data").stat().st_size < 0.45 * (tiny_onnx / "model.onnx_data").stat().st_size


def test_the_embedding_is_read_from_bytes_as_the_weights_they_stand_for(variant: Path, tiny_onnx: Path):
    """The lookup alone, in ONNX Runtime, beside the rows of the fp32 embedding."""
    import onnxruntime

    graph = read_model(variant).graph
    node = next(node for node in graph.node if node.op_type == "GatherBlockQuantized")
    weights = [tensor for tensor in graph.initializer if tensor.name in node.input]
    values = [
        helper.make_tensor_value_info(node.input[1], TensorProto.INT64, [1, len(IDS)]),
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [1, len(IDS), 32]),
    ]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    alone = helper.make_graph([node], "lookup", values[:1], values[1:], weights)
    model = helper.make_model(alone, opset_imports=opsets, ir_version=10)
    found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {node.input[1]: np.array([IDS])}
    )[0][0]
    stored = {tensor.name: tensor for tensor in read_model(tiny_onnx).graph.initializer}
    rows = numpy_helper.to_array(stored["model.embed_tokens.weight"])[IDS]
    largest = np.abs(rows.reshape(len(IDS), 2, 16)).max(axis=2).repeat(16, axis=1)
    assert (np.abs(found - rows) <= largest / 128 * 1.001).all()
    assert np.abs(found - rows).max() > 0


def test_one_kind_is_measured_and_chosen_whatever_it_loses_and_again_in_the_same_bytes(
    tiny_onnx: Path, dataset: Path, tmp_path: Path
):
    for name in ("one", "two"):
        _make(_of_kind("dynamic"), {"onnx": tiny_onnx, "dataset": dataset}, tmp_path / name)
    facts = json.loads((tmp_path / "one" / "facts.json").read_text())
    assert [(candidate["kind"], candidate["chosen"]) for candidate in facts["candidates"]] == [("dynamic", True)]
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")
    kinds = [node.op_type for node in onnx.load(tmp_path / "one" / "model.onnx").graph.node]
    assert kinds.count("MatMulInteger") == 15


def _with_gemm(folder: Path, tiny_onnx: Path) -> Path:
    """`tiny_onnx` with one matrix read by an operator that has no form of few bits."""
    shutil.copytree(tiny_onnx, folder)
    model = onnx.load(folder / "model.onnx")
    weight = numpy_helper.from_array(np.ones((300, 1), np.float32), "odd")
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Neg", ["odd"], ["odder"]))
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_kind_that_cannot_be_made_is_left_out_with_a_warning(
    tiny_onnx: Path, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    odd = _with_gemm(tmp_path / "odd", tiny_onnx)
    with caplog.at_level(logging.WARNING):
        _make(SETTINGS, {"onnx": odd, "dataset": dataset}, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "facts.json").read_text())["kind"] == "dynamic"
    assert "without a candidate, weight-only: 1 matrices cannot be quantized, that of the Neg" in caplog.text
    with pytest.raises(Unavailable, match="weight-only: 1 matrices cannot be quantized"):
        quantize_int8(_of_kind("weight-only"), {"onnx": odd, "dataset": dataset}, tmp_path / "none")


def test_a_candidate_whose_logits_are_not_numbers_has_no_figures(tiny_onnx: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_onnx, broken)
    model = onnx.load(broken / "model.onnx")
    embedding = next(tensor for tensor in model.graph.initializer if tensor.name == "model.embed_tokens.weight")
    embedding.CopyFrom(numpy_helper.from_array(np.full((300, 32), np.nan, np.float32), embedding.name))
    onnx.save(model, broken / "model.onnx")
    pieces = [{"name": "set/0", "ids": IDS, "positions": [0, 1], "num_bytes": 4}]
    folders = {"broken": str(broken), "whole": str(tiny_onnx)}
    found = compare_candidates({"reference": str(tiny_onnx), "candidates": folders, "pieces": pieces, "threads": 1})
    size_bytes = sum((broken / name).stat().st_size for name in ("model.onnx", "model.onnx_data"))
    nothing = {"kl_to_fp32": None, "bits_per_byte": None}
    assert found["broken"] == {**nothing, "size_bytes": size_bytes, "validation_tokens": 2}
    assert found["whole"]["kl_to_fp32"] == 0


def test_the_variant_that_candidates_are_made_of_reads_each_text_once(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[Path] = []
    openings: dict[Decoder, Path] = {}
    opened, logits = Decoder.open, Decoder.logits

    def note_opening(folder: Path, *, threads: int) -> Decoder:
        decoder = opened(folder, threads=threads)
        openings[decoder] = folder
        return decoder

    monkeypatch.setattr(Decoder, "open", note_opening)
    monkeypatch.setattr(Decoder, "logits", lambda self, ids: read.append(openings[self]) or logits(self, ids))
    one, two = (shutil.copytree(tiny_onnx, tmp_path / name) for name in ("one", "two"))
    pieces = [{"name": name, "ids": IDS, "positions": [0, 1], "num_bytes": 4} for name in ("set/0", "set/1")]
    folders = {"one": str(one), "two": str(two)}
    compare_candidates({"reference": str(tiny_onnx), "candidates": folders, "pieces": pieces, "threads": 1})
    assert read == [tiny_onnx, one, two] * 2


def test_a_validation_split_without_counted_tokens_is_refused(tiny_onnx: Path, tmp_path: Path):
    split = _split(2)
    write_split(
        tmp_path, "validation", Split(split.ids, np.zeros(200, bool), split.starts, split.num_bytes, split.names)
    )
    with pytest.raises(InputError, match="the validation split has 0 counted tokens"):
        quantize_int8(SETTINGS, {"onnx": tiny_onnx, "dataset": tmp_path}, tmp_path / "out")


def test_whole_documents_are_read_until_the_asked_tokens_are_there():
    split = _split(4)
    assert [len(piece.positions) for piece in first_pieces(split, 90)] == [90]
    pieces = first_pieces(split, 91)
    assert [len(piece.positions) for piece in pieces] == [90, 90]
    # The first counted token of a document is the eleventh; the one before it predicts it.
    assert pieces[1].ids == split.ids[100:200].tolist() and pieces[1].positions == list(range(9, 99))
    assert pieces[1].labels.tolist() == split.ids[110:200].tolist()
    assert len(first_pieces(split, 10_000)) == 4


def test_weights_that_a_package_links_are_read_all_the_same(tiny_onnx: Path, tmp_path: Path):
    """The negative control: onnx itself refuses a file of two hard links."""
    linked = tmp_path / "linked"
    shutil.copytree(tiny_onnx, linked)
    os.link(linked / "model.onnx_data", tmp_path / "package")
    with pytest.raises(onnx.checker.ValidationError, match="hard links"):
        onnx.load(linked / "model.onnx")
    expected = onnx.load(tiny_onnx / "model.onnx")
    assert read_model(linked).SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
