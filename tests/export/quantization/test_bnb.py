import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from evaluation.torch_decoder import TorchDecoder
from export.quantization import bnb_child
from export.quantization.bnb import QuantizeBnbSettings, _refuse_corruption, quantize_bnb
from stillhouse.errors import Unavailable
from stillhouse.models.load import load_quantized, quiet_bitsandbytes

KINDS = ["bnb-int8", "bnb-nf4"]


def _repacks() -> bool:
    """Whether 4-bit weights are laid out anew for this processor."""
    quiet_bitsandbytes()
    from bitsandbytes.functional import has_avx512bf16

    return bool(has_avx512bf16())


def _model(tiny_model: Path, folder: Path, **changed: int) -> Path:
    """A student with the tokenizer of `tiny_model`, of widths that bitsandbytes' products on CPUs can take."""
    shutil.copytree(tiny_model, folder)
    widths = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=300, num_hidden_layers=2, initializer_range=0.1, tie_word_embeddings=True)
    config.update({**widths, "head_dim": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **changed})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _model(tiny_model, tmp_path_factory.mktemp("wide") / "student")


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    quantize_bnb(QuantizeBnbSettings(kind=request.param), {"student": student}, folder)
    # As the store does.
    shutil.rmtree(folder / "work")
    return request.param, folder


def _quantize_here(kind: str, student: Path, folder: Path, device: str = "cpu") -> np.ndarray:
    """What the stage's first process does; returns logits of the model in memory."""
    payload = {"kind": kind, "device": device, "threads": 1, "student": str(student), "folder": str(folder)}
    bnb_child.quantize({**payload, "logits": str(folder.parent / "memory.npy")})
    return np.load(folder.parent / "memory.npy")


def test_the_folder_is_the_students_but_for_config_and_weights(made: tuple[str, Path], student: Path):
    names = sorted(path.name for path in student.iterdir())
    assert sorted(path.name for path in made[1].iterdir()) == names
    differ = [name for name in names if (student / name).read_bytes() != (made[1] / name).read_bytes()]
    assert differ == ["config.json", "model.safetensors"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in made[1].iterdir())


def test_another_run_writes_the_same_bytes_and_the_file_gives_back_what_was_in_memory(
    made: tuple[str, Path], student: Path, tmp_path: Path
):
    kind, folder = made
    memory = _quantize_here(kind, student, tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    found = bnb_child._logits(load_quantized(folder, "cpu", "auto"))
    np.testing.assert_allclose(found, memory, atol=1e-5)


def test_it_opens_as_it_ships_and_answers_much_as_the_student_does(made: tuple[str, Path], student: Path):
    kind, folder = made
    model = load_quantized(folder, "cpu", "auto")
    # Embedding and head are one tensor, in bfloat16; matrices are bytes, whatever precision is asked for.
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16
    assert model.lm_head.weight is model.get_input_embeddings().weight
    matrix = model.model.layers[0].mlp.down_proj.weight
    assert matrix.dtype == (torch.int8 if kind == "bnb-int8" else torch.uint8)
    ids = list(range(5, 45))
    expected, found = (TorchDecoder.open(path, threads=1).logits(ids) for path in (student, folder))
    # Random weights make the most of every error: a real student loses a tenth of that.
    allowed = 0.05 if kind == "bnb-int8" else 0.5
    assert 0 < np.linalg.norm(found - expected) < allowed * np.linalg.norm(expected)


@pytest.mark.skipif(not _repacks(), reason="only processors with AVX512-BF16 lay weights out anew")
def test_what_the_stage_avoids_really_corrupts_and_is_refused(student: Path, tmp_path: Path):
    """4 bits without double quantization, saved after a forward pass: no error, and noise."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    options = {"quantization_config": config, "dtype": torch.bfloat16, "device_map": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(student, **options).eval()
    model.save_pretrained(tmp_path / "before")
    memory = bnb_child._logits(model)
    model.save_pretrained(tmp_path / "after")
    before, after = (bnb_child._logits(load_quantized(tmp_path / name, "cpu", "auto")) for name in ("before", "after"))
    _refuse_corruption("bnb-nf4", memory, before)
    with pytest.raises(RuntimeError, match="bnb-nf4 was corrupted as it was saved"):
        _refuse_corruption("bnb-nf4", memory, after)


def test_logits_that_are_not_numbers_are_corruption_too():
    with pytest.raises(RuntimeError, match="differ from those of the model in memory by nan"):
        _refuse_corruption("bnb-int8", np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32))


def test_without_bitsandbytes_the_variant_is_absent_with_a_reason(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(Unavailable, match="bitsandbytes is not installed"):
        quantize_bnb(QuantizeBnbSettings(kind="bnb-int8"), {"student": student}, tmp_path)


def test_a_device_that_bitsandbytes_does_not_know_is_a_reason(student: Path, tmp_path: Path):
    with pytest.raises(Unavailable, match="bitsandbytes does not run on meta, only on cpu, cuda"):
        _quantize_here("bnb-int8", student, tmp_path / "out", device="meta")


def test_a_model_without_a_linear_layer_is_a_reason(tiny_model: Path, tmp_path: Path):
    bare = _model(tiny_model, tmp_path / "bare", num_hidden_layers=0)
    with pytest.raises(Unavailable, match="finds no linear layer"):
        _quantize_here("bnb-int8", bare, tmp_path / "out")


@pytest.mark.skipif(not _repacks(), reason="other processors take any width")
def test_widths_that_the_processors_product_refuses_are_a_reason(tiny_model: Path, tmp_path: Path):
    with pytest.raises(Unavailable, match="bitsandbytes cannot run a model of these widths on cpu"):
        _quantize_here("bnb-nf4", tiny_model, tmp_path / "out")


def test_two_warnings_are_dropped_and_others_are_not(caplog: pytest.LogCaptureFixture):
    quiet_bitsandbytes()
    quiet_bitsandbytes()
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    assert len(logger.filters) == 1
    logger.warning("MatMul8bitLt: inputs will be cast from %s to float16 during quantization", torch.float32)
    logging.getLogger("bitsandbytes.backends.cpu.ops").warning("Failed to load CPU gemm_4bit_forward from somewhere")
    assert not caplog.records
    logger.warning("something else")
    assert [record.message for record in caplog.records] == ["something else"]


def test_too_little_memory_is_no_limit_of_the_platform():
    with pytest.raises(torch.OutOfMemoryError), bnb_child._unavailable_on("cuda"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(Unavailable, match="of these widths on cpu: odd"), bnb_child._unavailable_on("cpu"):
        raise RuntimeError("odd")
