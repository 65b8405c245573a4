"""Teachers beside the first are looked at as the first is, before anything is made."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from flows import preflight
from stillhouse.recipe import load_recipe
from stillhouse.store.store import Store
from tests.flows.test_trainable import SMALL, model_of, recipe, refused


def in_rounds(folder: Path, first: Path, second: Path, **changes) -> Path:
    """Two rounds, of which the second has a teacher of its own."""
    (folder / "more.jsonl").write_text("\n".join(json.dumps({"text": f"another {number}"}) for number in range(60)))
    rounds = [{"sets": ["data"]}, {"sets": ["more"], "teacher": str(second)}]
    sets = [{"kind": "jsonl", "path": f"{name}.jsonl"} for name in ("data", "more")]
    data = {"sets": sets, "sequence_length": 32, "train_tokens": 600}
    route = {"kind": "continual", "rounds": rounds, "previous_student": "none"}
    return recipe(folder, teacher=str(first), data=data, route=route, **changes)


def in_an_ensemble(folder: Path, first: Path, second: Path) -> Path:
    knowledge = {"kind": "ensemble", "members": [{"teacher": str(second)}]}
    return recipe(folder, teacher=str(first), knowledge=knowledge)


@pytest.mark.parametrize("asked", [in_rounds, in_an_ensemble])
def test_a_short_context_is_refused(tiny_model, tmp_path, asked):
    short = model_of("llama", {**SMALL, "max_position_embeddings": 16}, tiny_model, tmp_path / "short")
    said = refused(asked(tmp_path, tiny_model, short))
    assert "data.sequence_length is 32, but the context of" in said and "short holds 16 tokens" in said


@pytest.mark.parametrize("asked", [in_rounds, in_an_ensemble])
def test_a_head_that_is_filled_up_further_is_welcome(tiny_model, tmp_path, asked):
    padded = shutil.copytree(tiny_model, tmp_path / "padded")
    model = AutoModelForCausalLM.from_pretrained(padded)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    model.save_pretrained(padded)
    assert "can run" in preflight.check(asked(tmp_path, tiny_model, padded), tmp_path / "runs")


def test_hidden_states_of_a_rounds_own_teacher_are_those_that_are_compared(tiny_model, tmp_path):
    narrow = model_of("llama", {**SMALL, "hidden_size": 16}, tiny_model, tmp_path / "narrow")
    features = {"distillation": {"features": {"rank": 20}}}
    assert "distillation.features.rank is 20" in refused(in_rounds(tmp_path, tiny_model, narrow, **features))
    assert "can run" in preflight.check(in_rounds(tmp_path, tiny_model, tiny_model, **features), tmp_path / "runs")


def test_a_rounds_own_teacher_is_part_of_the_estimate(tiny_model, tmp_path):
    large = model_of("llama", {**SMALL, "intermediate_size": 4096}, tiny_model, tmp_path / "large")
    costs = []
    for second in (tiny_model, large):
        path = in_rounds(tmp_path, tiny_model, second)
        costs.append(preflight.examine(load_recipe(path), tmp_path, Store(tmp_path / "runs" / "store")).cost)
    assert costs[1].memory_bytes > costs[0].memory_bytes and costs[1].seconds > costs[0].seconds
