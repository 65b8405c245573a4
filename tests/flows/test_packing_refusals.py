"""Preflight refuses teachers and students that cannot read several texts in a row, before anything is made."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from flows import preflight
from stillhouse.errors import InputError

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
HYBRID = {**SIZES, "layer_types": ["conv", "full_attention"]}


def model_of(kind: str, sizes: dict, like: Path, folder: Path) -> Path:
    """A random model with the tokenizer of another."""
    shutil.copytree(like, folder)
    vocabulary = json.loads((like / "config.json").read_text())["vocab_size"]
    config = AutoConfig.for_model(kind, **{**sizes, "vocab_size": vocabulary})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def recipe(folder: Path, **changes) -> Path:
    (folder / "data.jsonl").write_text("\n".join(json.dumps({"text": f"line {number}"}) for number in range(60)))
    asked = {
        "name": "mine",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "data": {"sets": [{"kind": "jsonl", "path": "data.jsonl"}], "sequence_length": 32},
        "student": {"kind": "depth", "layers": 1},
        "benchmark": {"prompt_tokens": [8, 16], "new_tokens": 4},
        **changes,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(asked))
    return folder / "recipe.yaml"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        preflight.check(path, path.parent / "runs")
    return str(caught.value)


def test_a_teacher_with_a_state(tiny_model, tmp_path):
    teacher = model_of("lfm2", HYBRID, tiny_model, tmp_path / "hybrid")
    assert "(lfm2) has layers of the kind conv" in refused(recipe(tmp_path, teacher=str(teacher)))


def test_a_student_with_a_state(tiny_model, tmp_path):
    source = model_of("lfm2", HYBRID, tiny_model, tmp_path / "hybrid")
    student = {"kind": "model", "source": str(source)}
    said = refused(recipe(tmp_path, teacher=str(tiny_model), student=student))
    assert "(lfm2) has layers of the kind conv" in said and "hybrid" in said


def test_a_fresh_student_with_a_state(tiny_model, tmp_path):
    config = {name: value for name, value in HYBRID.items() if name != "vocab_size"} | {"model_type": "lfm2"}
    student = {"kind": "fresh", "config": config}
    assert "student.config (lfm2)" in refused(recipe(tmp_path, teacher=str(tiny_model), student=student))


def test_a_member_of_an_ensemble_with_a_state(tiny_model, tmp_path):
    source = model_of("lfm2", HYBRID, tiny_model, tmp_path / "hybrid")
    knowledge = {"kind": "ensemble", "members": [{"teacher": str(source)}]}
    said = refused(recipe(tmp_path, teacher=str(tiny_model), knowledge=knowledge))
    assert "(lfm2) has layers of the kind conv" in said


def test_a_teacher_with_a_window_shorter_than_a_row_is_welcome(tiny_model, tmp_path):
    teacher = model_of("mistral", {**SIZES, "sliding_window": 8}, tiny_model, tmp_path / "windowed")
    assert "can run" in preflight.check(recipe(tmp_path, teacher=str(teacher)), tmp_path / "runs")
