import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation import parity
from evaluation.parity import ParitySettings, measure_parity
from evaluation.results import VariantFigures
from evaluation.variant import open_variant
from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import InputError

SETTINGS = ParitySettings(
    parity_tokens=60, greedy_tokens=8, greedy_prompts=3, prompt_tokens=4, device="cpu", threads=1, seed=0
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four documents of 20 tokens, the second in two pieces; the first half of each is a prompt."""
    folder = tmp_path_factory.mktemp("dataset")
    write_split(folder, "held_out", _split(("set/0", "set/1", "set/1", "set/2", "set/3")))
    return folder


def _split(names: tuple[str, ...]) -> Split:
    ids = np.random.default_rng(0).integers(3, 300, size=20 * len(names)).astype(np.int32)
    counted = np.tile(np.arange(20) >= 10, len(names))
    starts = np.arange(0, len(ids) + 1, 20)
    return Split(ids, counted, starts, np.full(len(names), 25), names)


def _measure(folder: Path, **inputs: Path) -> dict:
    measure_parity(SETTINGS, inputs, folder)
    return json.loads((folder / "facts.json").read_text())


def test_a_variant_compared_with_itself_has_lost_nothing(tiny_model: Path, dataset: Path, tmp_path: Path):
    facts = _measure(tmp_path, variant=tiny_model, reference=tiny_model, dataset=dataset)
    assert facts["kl_to_fp32"] == pytest.approx(0, abs=1e-9)
    assert facts["bits_per_byte_ratio_to_fp32"] == pytest.approx(1, abs=1e-9)
    assert facts["top1_agreement"] == 1
    assert facts["greedy_prefix_tokens"] == 8
    # Four documents tell no interval.
    assert facts["intervals"] == {}


def test_a_copy_of_the_reference_is_compared_with_it_and_has_lost_nothing(
    tiny_model: Path, dataset: Path, tmp_path: Path
):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    facts = _measure(tmp_path, variant=copy, reference=tiny_model, dataset=dataset)
    alone = tmp_path / "alone"
    alone.mkdir()
    assert facts == _measure(alone, variant=tiny_model, reference=tiny_model, dataset=dataset)


def test_the_first_token_that_the_reference_would_not_choose_ends_the_prefix(
    tiny_model: Path, dataset: Path, tmp_path: Path
):
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(tiny_model, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    noise = torch.randn(weights["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(0))
    weights["model.embed_tokens.weight"] += 0.02 * noise
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    facts = _measure(tmp_path, variant=other, reference=tiny_model, dataset=dataset)
    continuations = json.loads((tmp_path / "parity.json").read_text())["continuations"]
    prompts = np.random.default_rng(0).integers(3, 300, size=100).reshape(5, 20)[[0, 1, 3], :4]
    reference = open_variant(tiny_model, threads=1, device="cpu")
    lengths = []
    for prompt, found in zip(prompts.tolist(), continuations, strict=True):
        # The figure's definition: both continue greedily, token by token with a cache.
        expected = reference.generate_with_margins(prompt, max_new_tokens=8).ids
        lengths.append(int(np.cumprod(np.equal(found["ids"], expected)).sum()))
        assert found["reference_ids"] == expected[: lengths[-1] + 1]
    assert facts["greedy_prefix_tokens"] == np.mean(lengths)
    assert 0 < np.mean(lengths) < 8


def test_logits_that_do_not_fit_on_disk_at_once_give_the_same_figures(
    tiny_model: Path, tiny_onnx: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = {"variant": tiny_onnx, "reference": tiny_model, "dataset": dataset}
    (tmp_path / "parts").mkdir()
    together = _measure(tmp_path, **inputs)
    monkeypatch.setattr(parity, "SCRATCH_BYTES", 4 * 300 * 20)
    assert _measure(tmp_path / "parts", **inputs) == together


def test_the_figures_of_an_onnx_variant_are_those_worked_out_from_its_logits(
    tiny_model: Path, tiny_onnx: Path, dataset: Path, tmp_path: Path
):
    from transformers import AutoModelForCausalLM

    facts = _measure(tmp_path, variant=tiny_onnx, reference=tiny_model, dataset=dataset)
    ids = np.random.default_rng(0).integers(3, 300, size=100).reshape(5, 20)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits[:, 9:-1].flatten(0, 1), torch.from_numpy(ids[:, 10:].ravel()))
    # 60 counted tokens are asked for and come 10 a piece, so one piece more than five is not there: all of them.
    assert facts["parity_tokens"] == 50
    assert facts["bits_per_byte"] == pytest.approx(50 * loss.item() / np.log(2) / 125, rel=1e-5)
    assert facts["kl_to_fp32"] == pytest.approx(0, abs=1e-8)
    assert facts["greedy_prefix_tokens"] == 8


def test_facts_are_named_as_the_results_file_names_them(tiny_model: Path, tiny_onnx: Path, tmp_path: Path):
    write_split(tmp_path / "dataset", "held_out", _split(tuple(f"set/{number}" for number in range(6))))
    (tmp_path / "parity").mkdir()
    settings = SETTINGS.model_copy(update={"greedy_prompts": 5, "parity_tokens": 20})
    inputs = {"variant": tiny_onnx, "reference": tiny_model, "dataset": tmp_path / "dataset"}
    measure_parity(settings, inputs, tmp_path / "parity")
    facts = json.loads((tmp_path / "parity" / "facts.json").read_text())
    assert set(facts) <= set(VariantFigures.model_fields)
    # 20 tokens stand in two documents; five are read, so that there are intervals.
    assert facts["parity_tokens"] == 50
    assert set(facts["intervals"]) == set(facts) - {"parity_tokens", "intervals"}
    details = json.loads((tmp_path / "parity" / "parity.json").read_text())
    assert sum(document["tokens"] for document in details["documents"]) == facts["parity_tokens"]
    assert [one["name"] for one in details["continuations"]] == [f"set/{number}" for number in range(5)]


def test_only_the_documents_that_hold_the_asked_tokens_are_read(tiny_model: Path, tmp_path: Path):
    write_split(tmp_path / "dataset", "held_out", _split(tuple(f"set/{number}" for number in range(8))))
    settings = SETTINGS.model_copy(update={"parity_tokens": 51})
    inputs = {"variant": tiny_model, "reference": tiny_model, "dataset": tmp_path / "dataset"}
    measure_parity(settings, inputs, tmp_path)
    details = json.loads((tmp_path / "parity.json").read_text())
    assert [document["name"] for document in details["documents"]] == [f"set/{number}" for number in range(6)]
    assert details["figures"]["parity_tokens"] == 60


def test_a_variant_that_is_not_finite_is_an_error_that_names_the_document(
    tiny_model: Path, dataset: Path, tmp_path: Path
):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FloatingPointError, match="the variant are not finite in held-out document set/0"):
        _measure(tmp_path / "out", variant=broken, reference=tiny_model, dataset=dataset)


def test_one_document_is_not_enough_for_an_interval(tiny_model: Path, tmp_path: Path):
    write_split(tmp_path, "held_out", _split(("set/0", "set/0")))
    with pytest.raises(InputError, match="at least 2 held-out documents"):
        _measure(tmp_path / "out", variant=tiny_model, reference=tiny_model, dataset=tmp_path)
