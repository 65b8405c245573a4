"""Starts of half the parameters: every way to make one, one seed, on the tiny teacher."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import student_starts
from stillhouse.errors import InputError


def test_every_start_is_near_half_of_the_teacher_and_trained_alike(small_recipe, tmp_path: Path, monkeypatch):
    recipe = small_recipe(steps=2, warmup_steps=1)
    out = tmp_path / "starts.json"
    options = ["--runs", str(tmp_path / "runs"), "--out", str(out), "--seeds", "0", "--train-tokens", "4000"]
    monkeypatch.setattr(sys, "argv", ["student_starts", str(recipe), *options])
    student_starts.main()
    found = json.loads(out.read_text())
    asked = student_starts.STARTS
    assert list(found["starts"]) == [name for name in asked if asked[name].through_share is None]
    assert [row["start"] for row in found["runs"]] == [name for name in asked if asked[name].is_trained]
    assert len({(row["tokens"], row["steps"]) for row in found["runs"] if "between" not in row["start"]}) == 1
    assert len({row["steps"] for row in found["runs"]}) == 1
    # Of low rank as of any other start: half of the teacher at most, and not far below it.
    sizes = [start["parameters"] for start in found["starts"].values()]
    assert max(sizes) <= 324_416 // 2 and found["starts"]["low rank, layer by layer"]["parameters"] > 0.9 * max(sizes)
    losses = [row["validation"]["held_out_loss_above_teacher_nats_per_token"] for row in found["runs"]]
    # With so few layers both rankings may keep the same ones.
    assert len(set(losses)) >= 4
    table = out.with_suffix(".md").read_text()
    assert "| **depth and width** |" in table and "| **depth, greedy, through a student between** |" in table
    assert "| low rank, layer by layer | 0.2M | untrained |" in table


def test_what_is_held_to_the_steps_of_another_is_refused_alone(small_recipe, tmp_path: Path, monkeypatch):
    starts = ["--starts", "low rank, layer by layer", "depth, greedy, through a student between"]
    monkeypatch.setattr(
        sys, "argv", ["student_starts", str(small_recipe()), "--out", str(tmp_path / "x.json"), *starts]
    )
    with pytest.raises(InputError, match="names none that is trained directly"):
        student_starts.main()
