"""The stages of width pruning, from a teacher's folder and a data set to a student's folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stillhouse.data.dataset import Split, write_split
from stillhouse.models.load import count_parameters, load_model
from stillhouse.models.narrow_students import (
    PruneLayersAndWidthsSettings,
    PruneWidthsSettings,
    prune_layers_and_widths,
    prune_widths,
)
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.pruned import DepthAndWidthPruned, WidthPruned

TINY_TEACHER = Path(__file__).parents[2] / "tiny_teacher"
SHARED = {"sequence_length": 32, "compute": Compute(device="cpu", precision="fp32", threads=1, seed=0)}
IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dataset")
    ids = np.random.default_rng(0).integers(5, 1000, size=256).astype(np.int32)
    starts = np.arange(0, 257, 32)
    counted = np.ones(256, dtype=bool)
    counted[starts[:-1]] = False
    names = tuple(f"a/{number}" for number in range(8))
    write_split(folder, "train", Split(ids, counted, starts, np.full(8, 32), names))
    return {"teacher": TINY_TEACHER, "dataset": folder}


def narrowed(inputs: dict[str, Path], folder: Path, **asked) -> dict:
    folder.mkdir()
    student = WidthPruned.model_validate({"statistics_tokens": 128, **asked})
    prune_widths(PruneWidthsSettings(student=student, **SHARED), inputs, folder)
    return json.loads((folder / "facts.json").read_text())


def both(inputs: dict[str, Path], folder: Path, **asked) -> dict:
    folder.mkdir()
    tokens = {"statistics_tokens": 128, "ranking_tokens": 64}
    student = DepthAndWidthPruned.model_validate(tokens | asked)
    prune_layers_and_widths(PruneLayersAndWidthsSettings(student=student, **SHARED), inputs, folder)
    return json.loads((folder / "facts.json").read_text())


def test_a_student_is_an_ordinary_checkpoint_of_the_size_that_was_asked(inputs, tmp_path: Path):
    facts = narrowed(inputs, tmp_path / "student", parameters_share=0.5)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "student").eval()
    assert count_parameters(opened) == facts["parameters"] <= 0.5 * facts["teacher_parameters"]
    assert facts["parameters"] > 0.45 * facts["teacher_parameters"]
    assert (opened.config.hidden_size, opened.config.head_dim) == (facts["hidden_size"], 16)
    ours = load_model(tmp_path / "student", device="cpu", dtype="fp32")
    with torch.no_grad():
        assert torch.equal(opened(IDS).logits, ours(IDS).logits)
    record = json.loads((tmp_path / "student" / "widths.json").read_text())
    assert len(record["kept"]["hidden"]) == facts["hidden_size"]
    assert [len(layer) for layer in record["kept"]["feed_forward"]] == [facts["feed_forward_size"]] * 6
    assert not (tmp_path / "student" / "ranking.json").exists()


def test_all_widths_of_the_teacher_give_the_teacher(inputs, tmp_path: Path):
    narrowed(inputs, tmp_path / "student", hidden_size=64)
    student, teacher = (
        load_model(folder, device="cpu", dtype="fp32") for folder in (tmp_path / "student", TINY_TEACHER)
    )
    with torch.no_grad():
        assert torch.equal(student(IDS).logits, teacher(IDS).logits)


@pytest.mark.parametrize("make", [narrowed, both])
def test_the_same_seed_gives_the_same_bytes(make, inputs, tmp_path: Path):
    for name in "ab":
        make(inputs, tmp_path / name, parameters_share=0.5)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_layers_and_widths_go_together(inputs, tmp_path: Path):
    facts = both(inputs, tmp_path / "student", layers=4, parameters="120k", ranking="greedy")
    assert facts["parameters"] <= 120_000 and facts["layers"] == 4
    ranking = json.loads((tmp_path / "student" / "ranking.json").read_text())
    assert ranking["kept"] == facts["kept_layers"] and len(ranking["removed"]) == 2
    record = json.loads((tmp_path / "student" / "widths.json").read_text())
    # Of what is left: four layers, each with two norms, and the last norm.
    assert len(record["kept"]["key_value_heads"]) == 4 and len(record["norm_factors"]) == 9
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    assert opened.config.num_hidden_layers == 4


def test_how_many_layers_stay_is_found_where_it_is_not_said(inputs, tmp_path: Path):
    facts = both(inputs, tmp_path / "student", parameters_share=0.6)
    assert facts["layers"] < 6 and facts["parameters"] <= 0.6 * facts["teacher_parameters"]
