"""Teachers beside the first are looked at as the first is, before anything is made."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from flows import preflight
from stillhouse.recipe import load_recipe
from stillhouse.store.store import Store
from tests.conftest import ROOT
from tests.flows.test_trainable import SMALL, model_of, recipe, refused

TINY_TEACHER = ROOT / "tests" / "tiny_teacher"


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


def that_answers(folder: Path, first: Path, second: Path | str, **changes) -> Path:
    """A second teacher answers the prompts of a file."""
    lines = [{"messages": [{"role": "user", "content": f"what is {number}"}]} for number in range(60)]
    (folder / "code.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sets = [{"kind": "jsonl", "path": f"{name}.jsonl"} for name in ("data", "code")]
    answers = {"max_new_tokens": 8, "others": [{"teacher": str(second), "serves": ["code"]}], **changes}
    return recipe(folder, teacher=str(first), data={"sets": sets, "sequence_length": 32, "answers": answers})


def test_a_teacher_with_any_tokenizer_may_answer_and_is_told_with_what_that_takes(tiny_model, tmp_path):
    said = preflight.check(that_answers(tmp_path, tiny_model, TINY_TEACHER), tmp_path / "runs")
    line = next(line for line in said.splitlines() if line.startswith("answers"))
    assert str(TINY_TEACHER) in line and "M parameters, to the prompts of code: about 1 min, 0.7 GB" in line
    alone = preflight.check(recipe(tmp_path, teacher=str(tiny_model)), tmp_path / "runs")
    assert not any(line.startswith("answers") for line in alone.splitlines())


def test_a_teacher_that_cannot_answer_is_refused_before_anything_is_made(tiny_model, tmp_path):
    plain = shutil.copytree(tiny_model, tmp_path / "plain", ignore=shutil.ignore_patterns("chat_template.jinja"))
    with_state = model_of("mamba", {"hidden_size": 32, "num_hidden_layers": 2}, tiny_model, tmp_path / "with-state")
    short = model_of("llama", {**SMALL, "max_position_embeddings": 16}, tiny_model, tmp_path / "short")
    unknown = shutil.copytree(tiny_model, tmp_path / "unknown")
    (unknown / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 300}))
    words = {
        "./nowhere": "missing teacher: there is no directory",
        str(plain): "plain has no chat template, and data.answers.others lets it answer prompts",
        str(with_state): "(mamba) has a state that is handed from token to token",
        str(unknown): "no causal language model in transformers",
    }
    for other, said in words.items():
        assert said in refused(that_answers(tmp_path, tiny_model, other))
    said = refused(that_answers(tmp_path, tiny_model, short, max_new_tokens=16))
    assert "data.answers.max_new_tokens is 16, but the context of" in said and "short holds 16 tokens" in said
    assert not (tmp_path / "runs" / "store" / "load_teacher").exists()
