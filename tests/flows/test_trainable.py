"""Preflight refuses what a training would refuse of teacher and student, before anything is made."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from flows import preflight
from stillhouse.errors import InputError
from tests.small_models import SIZES

SMALL = SIZES | {"max_position_embeddings": 128}
HYBRID = {**SMALL, "layer_types": ["conv", "full_attention"]}


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
    teacher = model_of("mistral", {**SMALL, "sliding_window": 8}, tiny_model, tmp_path / "windowed")
    assert "can run" in preflight.check(recipe(tmp_path, teacher=str(teacher)), tmp_path / "runs")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"rank": 8, "layers": {"2": 1}}, "names layer 2 of the student, which has 0 (its embedding) to 1"),
        ({"rank": 8, "layers": {"1": 3}}, "names layer 3 of the teacher, which has 0 (its embedding) to 2"),
        ({"rank": 33}, "distillation.features.rank is 33, but hidden states have 32 features in the student"),
        ({"rank": 8, "fit_tokens": 31}, "fit_tokens is 31, which cannot tell how 32 features of the student relate"),
    ],
)
def test_hidden_states_that_are_not_there(tiny_model, tmp_path, features, words):
    asked = {"teacher": str(tiny_model), "distillation": {"features": features}}
    assert words in refused(recipe(tmp_path, **asked))


def test_hidden_states_that_would_do_for_the_last_student_and_not_for_one_on_the_way(tiny_model, tmp_path):
    teacher = model_of("llama", {**SMALL, "num_hidden_layers": 4}, tiny_model, tmp_path / "deep")
    student = {"kind": "width", "hidden_size": 16}
    features = {"rank": 8, "fit_tokens": 20}
    asked = {"teacher": str(teacher), "student": student, "distillation": {"features": features}}
    assert "can run" in preflight.check(recipe(tmp_path, **asked), tmp_path / "runs")
    route = {"kind": "progressive", "through": [{"student": {"kind": "depth", "layers": 2}}]}
    said = refused(recipe(tmp_path, **asked, route=route))
    assert "fit_tokens is 20, which cannot tell how 32 features of the student relate" in said


@pytest.mark.parametrize("student", [{"kind": "depth", "layers": 1}, {"kind": "fresh", "layers": 1}, None])
def test_adapters_beside_layers_that_the_student_has_not(tiny_model, tmp_path, student):
    asked = {"student": student or {"kind": "model", "source": str(tiny_model)}}
    asked |= {"teacher": str(tiny_model), "compute": {"lora": {"layers": ["q_proj", "c_attn"]}}}
    said = refused(recipe(tmp_path, **asked))
    assert "compute.lora.layers names c_attn" in said and "down_proj" in said
    asked["compute"] = {"lora": {"layers": ["q_proj"]}}
    assert "can run" in preflight.check(recipe(tmp_path, **asked), tmp_path / "runs")


def test_a_teacher_whose_blocks_cannot_be_refitted(tiny_model, tmp_path):
    """Gemma 2 has a norm behind the last linear layer of a block."""
    gemma = model_of("gemma2", {**SMALL, "head_dim": 8}, tiny_model, tmp_path / "gemma")
    asked = {"refit": {"tokens": 256}, "student": {"kind": "depth", "layers": 1}}
    said = refused(recipe(tmp_path, teacher=str(gemma), **asked))
    assert "Gemma2DecoderLayer" in said and "leave refit out" in said
