import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from export.onnx.export import ExportOnnxSettings, export_onnx
from stillhouse.serving.decoder import Decoder


def _export(student: Path, folder: Path) -> None:
    """Export, and remove the stage's scratch as the store does."""
    export_onnx(ExportOnnxSettings(), {"student": student}, folder)
    shutil.rmtree(folder / "work")


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_student_gives_the_same_bytes(tiny_model: Path, tiny_onnx: Path, tmp_path: Path):
    _export(tiny_model, tmp_path)
    assert _bytes(tmp_path) == _bytes(tiny_onnx)


def test_the_export_is_quiet(tiny_model: Path, tmp_path: Path, capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(ExportOnnxSettings(), {"student": tiny_model}, tmp_path)
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.text) == ("", "", "")


def test_the_folder_holds_what_opens_it_and_no_weights_of_torch(tiny_model: Path, tiny_onnx: Path):
    names = set(_bytes(tiny_onnx))
    assert names == set(_bytes(tiny_model)) - {"model.safetensors"} | {"model.onnx", "model.onnx_data"}
    assert (tiny_onnx / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()
    onnx.checker.check_model(tiny_onnx / "model.onnx")


def test_optimum_and_a_plain_session_give_what_the_decoder_gives(tiny_onnx: Path):
    from optimum.onnxruntime import ORTModelForCausalLM

    ids = [5, 6, 7, 8]
    expected = Decoder.open(tiny_onnx, threads=1)
    model = ORTModelForCausalLM.from_pretrained(tiny_onnx)
    found = model(torch.tensor([ids]), attention_mask=torch.ones(1, 4, dtype=torch.int64)).logits[0]
    np.testing.assert_allclose(found.numpy(), expected.logits(ids), atol=1e-5)
    greedy = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert greedy[0, 4:].tolist() == expected.generate(ids, max_new_tokens=8)

    session = onnxruntime.InferenceSession(tiny_onnx / "model.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        given.name: np.zeros((1, given.shape[1], 0, given.shape[3]), dtype=np.float32)
        for given in session.get_inputs()
        if given.name.startswith("past")
    }
    feeds |= {
        "input_ids": np.array([ids]),
        "attention_mask": np.ones((1, 4), dtype=np.int64),
        "position_ids": np.arange(4)[None],
    }
    np.testing.assert_allclose(session.run(["logits"], feeds)[0][0], expected.logits(ids), atol=1e-5)


def test_a_killed_attempt_is_not_built_upon(tiny_model: Path, tiny_onnx: Path, tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "model.onnx_data").write_bytes(b"half of it")
    (tmp_path / "model.onnx_data").write_bytes(b"half of it")
    _export(tiny_model, tmp_path)
    assert _bytes(tmp_path) == _bytes(tiny_onnx)
