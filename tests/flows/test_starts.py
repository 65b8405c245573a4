"""Every kind of student passes preflight, gets the stage that makes it, and is refused where it cannot be."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import GPT2Config

from flows import preflight
from flows.compress import in_order
from flows.settings import SettingsOfStages
from flows.work import Planner, Work, directly
from stillhouse.errors import InputError
from stillhouse.recipe import load_recipe
from stillhouse.store.store import Store

LINES = [{"text": f"Number {number} is a plain sentence about copper stills and malt."} for number in range(60)]


@pytest.fixture
def examined(tiny_model: Path, tmp_path: Path) -> Callable[..., SettingsOfStages]:
    """All of preflight, for a recipe with this student."""
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, LINES)))

    def prepare(teacher: Path = tiny_model, **student) -> SettingsOfStages:
        recipe = {
            "name": "mine",
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "teacher": str(teacher),
            "data": {"sets": [{"kind": "jsonl", "path": "data.jsonl"}], "sequence_length": 32},
            "student": student,
            "benchmark": {"prompt_tokens": [8, 16], "new_tokens": 4, "starts": 0},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return preflight.prepare(load_recipe(path), tmp_path, Store(tmp_path / "store"))

    return prepare


@pytest.mark.parametrize(
    ("student", "stage"),
    [
        ({"kind": "depth", "layers": 1, "ranking": "drop_one"}, "prune_layers"),
        ({"kind": "width", "feed_forward_size": 40}, "prune_widths"),
        ({"kind": "depth_and_width", "parameters_share": 0.6}, "prune_layers_and_widths"),
        ({"kind": "low_rank", "ranks": {"kind": "energy"}}, "low_rank"),
        ({"kind": "low_rank", "cut": {"kind": "width", "feed_forward_size": 40}}, "low_rank"),
        ({"kind": "fresh", "hidden_size": 16}, "make_fresh_student"),
    ],
)
def test_a_start_is_made_by_its_stage(examined, tmp_path, student, stage):
    made = in_order(examined(**student), Work(Planner(tmp_path / "store"), directly))
    assert stage in {reference.kind for reference in made.artifacts}


@pytest.mark.parametrize(
    "student",
    [
        {"kind": "depth", "layers": 1},
        {"kind": "width", "feed_forward_size": 40},
        {"kind": "depth_and_width", "parameters_share": 0.6},
    ],
    ids=lambda student: student["kind"],
)
def test_what_stays_is_chosen_in_fp32_whatever_precision_trains(examined, student):
    settings = examined(**student)
    in_bf16 = replace(settings, compute=settings.compute.model_copy(update={"precision": "bf16"}))
    assert in_bf16.start == settings.start and settings.start.compute.precision == "fp32"
    assert in_bf16.distill.compute.precision == "bf16"


def test_a_teacher_that_is_cut_first_is_cut_by_that_stage_and_read_by_the_one_after_it(examined, tmp_path):
    cut = {"kind": "depth", "layers": 1, "ranking": "drop_one"}
    settings = examined(kind="low_rank", cut=cut, blocks=[0])
    made = []

    class Noting(Planner):
        def make(self, stage, settings, inputs):
            reference = super().make(stage, settings, inputs)
            made.append((stage.__name__, dict(inputs), reference))
            return reference

    in_order(settings, Work(Noting(tmp_path / "store"), directly))
    by_stage = {name: (inputs, reference) for name, inputs, reference in made}
    cut_to = by_stage["prune_layers"][1]
    assert by_stage["low_rank"][0]["start"] == cut_to
    assert by_stage["distill"][0]["start"] == by_stage["low_rank"][1] != cut_to


def test_a_config_is_read_from_its_file_and_is_the_same_as_one_that_is_written_out(examined, tmp_path):
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    (tmp_path / "small.json").write_text(json.dumps(config))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    found = [examined(kind="fresh", config=each).start for each in ("small.json", "folder", config)]
    assert found[0] == found[1] == found[2]
    assert found[0].student.config == config


def test_check_foretells_the_parameters_that_a_width_leaves(examined, tmp_path):
    examined(kind="width", parameters_share=0.5)
    said = preflight.check(tmp_path / "recipe.yaml", tmp_path / "runs")
    assert "student   about 0.0M parameters" in said


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ({"kind": "width", "hidden_size": 64}, "student.hidden_size is 64, but .* has 32; keep between 1 and 32"),
        ({"kind": "width", "key_value_heads": 3}, "student.key_value_heads is 3"),
        ({"kind": "depth_and_width", "layers": 3, "hidden_size": 16}, "student.layers is 3"),
        ({"kind": "width", "parameters": 100}, "in an embedding of [0-9]+ tokens by 4"),
        ({"kind": "width", "parameters": "1M"}, "ask for fewer"),
        ({"kind": "low_rank", "blocks": [0, 2]}, "student.blocks names block 2, and the student has blocks 0 to 1"),
        ({"kind": "low_rank", "cut": {"kind": "depth", "layers": 1}, "blocks": [1]}, "has blocks 0 to 0"),
        ({"kind": "low_rank", "cut": {"kind": "width", "hidden_size": 64}}, "student.hidden_size is 64"),
        ({"kind": "fresh", "config": {"model_type": "lama"}}, "'lama', which is no causal language model"),
        ({"kind": "fresh", "config": "nowhere.json"}, "no config at .*nowhere.json"),
        ({"kind": "fresh", "config": "data.jsonl"}, "is not JSON"),
        ({"kind": "fresh", "config": {"model_type": "gpt2", "n_positions": 16}}, "context holds 16 tokens"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_any_stage(examined, student, said):
    with pytest.raises(InputError, match=said):
        examined(**student)


def test_a_teacher_that_cannot_be_made_narrower_is_refused_by_its_config(examined, tiny_model, tmp_path):
    teacher = tmp_path / "gpt2"
    teacher.mkdir()
    for file in tiny_model.iterdir():
        (teacher / file.name).write_bytes(file.read_bytes())
    GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4).save_pretrained(teacher)
    with pytest.raises(InputError, match="'gpt2', which cannot be made narrower here"):
        examined(teacher, kind="width", hidden_size=16)
