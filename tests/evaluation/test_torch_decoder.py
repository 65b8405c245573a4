import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.torch_decoder import TorchDecoder
from stillhouse.serving.decoder import Decoder
from stillhouse.serving.language_model import Choose

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


def test_a_quantized_folder_answers_as_transformers_opens_it(quantized: Path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(quantized, dtype="auto")
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
