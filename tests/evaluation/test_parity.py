import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.parity import ParitySettings, compare_positions, measure_parity
from evaluation.results import VariantFigures
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
    assert facts["intervals"]["top1_agreement"] == [1, 1]


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


def test_facts_are_named_as_the_results_file_names_them(
    tiny_model: Path, tiny_onnx: Path, dataset: Path, tmp_path: Path
):
    facts = _measure(tmp_path, variant=tiny_onnx, reference=tiny_model, dataset=dataset)
    assert set(facts) <= set(VariantFigures.model_fields)
    assert set(facts["intervals"]) == set(facts) - {"parity_tokens", "intervals"}
    assert not (tmp_path / "work").exists()
    details = json.loads((tmp_path / "parity.json").read_text())
    assert sum(document["tokens"] for document in details["documents"]) == facts["parity_tokens"]
    assert [one["name"] for one in details["continuations"]] == ["set/0", "set/1", "set/2"]


def test_only_the_documents_that_hold_the_asked_tokens_are_read(tiny_model: Path, dataset: Path, tmp_path: Path):
    settings = SETTINGS.model_copy(update={"parity_tokens": 11})
    measure_parity(settings, {"variant": tiny_model, "reference": tiny_model, "dataset": dataset}, tmp_path)
    details = json.loads((tmp_path / "parity.json").read_text())
    assert [document["name"] for document in details["documents"]] == ["set/0", "set/1"]
    assert details["figures"]["parity_tokens"] == 20


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


def test_two_positions_worked_out_by_hand():
    # Reference says 3/4 and 1/4, then 1/2 and 1/2; the variant says 1/4 and 3/4, then 1/2 and 1/2.
    reference = np.log([[3.0, 1.0], [1.0, 1.0]])
    variant = np.log([[1.0, 3.0], [1.0, 1.0]]) + 7.0
    nats, reference_nats, kl, agreements = compare_positions(reference, variant, np.array([0, 1]))
    assert nats == pytest.approx(np.log(4) + np.log(2))
    assert reference_nats == pytest.approx(np.log(4 / 3) + np.log(2))
    assert kl == pytest.approx(0.5 * np.log(3))
    assert agreements == 1


def test_a_token_that_both_rule_out_costs_nothing():
    logits = np.array([[1000.0, -1000.0, 0.0]], dtype=np.float32)
    assert compare_positions(logits, logits, np.array([0])).tolist() == [0, 0, 0, 1]
