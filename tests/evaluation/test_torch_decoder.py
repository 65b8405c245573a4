import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.torch_decoder import TorchDecoder
from stillhouse.serving.decoder import Decoder
from stillhouse.serving.language_model import Choose, NotFinite

IDS = [5, 60, 70, 80, 90]


@pytest.fixture(scope="module")
def quantized(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from export.quantization import bnb_child

    folder = tmp_path_factory.mktemp("int8")
    payload = {"kind": "bnb-int8", "device": "cpu", "threads": 1, "student": str(tiny_model)}
    bnb_child.quantize({**payload, "folder": str(folder), "logits": str(folder / "logits.npy")})
    (folder / "tokenizer.json").write_bytes((tiny_model / "tokenizer.json").read_bytes())
    return folder


@pytest.mark.parametrize("choose", [None, lambda logits_V: int(logits_V.argmin())])
def test_a_model_folder_answers_as_its_onnx_form_does(tiny_model: Path, tiny_onnx: Path, choose: Choose | None):
    torch_form, onnx_form = TorchDecoder.open(tiny_model, threads=1), Decoder.open(tiny_onnx, threads=1)
    np.testing.assert_allclose(torch_form.logits(IDS), onnx_form.logits(IDS), atol=1e-4)
    found, expected = (
        model.generate_with_margins(IDS, max_new_tokens=6, choose=choose) for model in (torch_form, onnx_form)
    )
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.margins, expected.margins, atol=1e-4)


def test_a_batch_answers_as_its_onnx_form_does_and_as_each_alone(tiny_model: Path, tiny_onnx: Path):
    torch_form, onnx_form = TorchDecoder.open(tiny_model, threads=1), Decoder.open(tiny_onnx, threads=1)
    prompts = [IDS, IDS[:1], [7, *IDS, 200]]
    for last in (None, 2):
        both = zip(torch_form.logits_of(prompts, last=last), onnx_form.logits_of(prompts, last=last), strict=True)
        for ids, (found, expected) in zip(prompts, both, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)
            assert found.shape == (min(len(ids), last or len(ids)), 300)
    found, expected = (model.generate_batch(prompts, max_new_tokens=6) for model in (torch_form, onnx_form))
    alone = [torch_form.generate_with_margins(ids, max_new_tokens=6) for ids in prompts]
    assert [each.ids for each in found] == [each.ids for each in expected] == [each.ids for each in alone]


def test_a_model_whose_logits_are_not_numbers_chooses_no_token(tiny_model: Path):
    broken = TorchDecoder.open(tiny_model, threads=1)
    with torch.no_grad():
        broken._model.get_input_embeddings().weight[90] = float("nan")
    with pytest.raises(NotFinite) as alone:
        broken.generate_with_margins(IDS, max_new_tokens=2)
    assert alone.value.row == 0
    # The head is tied to the embedding: what never met token 90 still has one logit that is none.
    with pytest.raises(NotFinite):
        broken.generate_batch([IDS[:2], IDS], max_new_tokens=2)


@pytest.mark.parametrize(("multiplies", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_quantized_folder_answers_as_transformers_opens_it(
    quantized: Path, multiplies: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    """In the dtype that it is stored in, unless the processor would take 60 times as long."""
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr("stillhouse.models.load._multiplies_bfloat16", lambda: multiplies)
    model = AutoModelForCausalLM.from_pretrained(quantized, dtype=dtype)
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0].float().numpy()
    opened = TorchDecoder.open(quantized, threads=1)
    np.testing.assert_array_equal(opened.logits(IDS), expected)
    told: list[int] = []
    generation = opened.generate_with_margins(IDS, max_new_tokens=6, on_token=told.append)
    assert generation.ids == told and len(told) == 6
    assert told[0] == expected[-1].argmax()


def test_code_that_runs_quantized_weights_is_imported_before_loading_and_otherwise_not(
    quantized: Path, tiny_model: Path
):
    """Memory above the imports would otherwise hold bitsandbytes."""
    check = (
        "import sys; from pathlib import Path; from evaluation.variant import prepare\n"
        "for folder in sys.argv[1:]:\n"
        "    prepare(Path(folder), threads=1, device='cpu'); print('bitsandbytes' in sys.modules)"
    )
    command = [sys.executable, "-c", check, str(tiny_model), str(quantized)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
    assert "gemm_4bit_forward" not in done.stderr
