"""The control of a recipe: two arms, two seeds, from one start."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import control


def test_each_arm_is_trained_with_each_seed_from_one_start(small_recipe, tmp_path: Path, monkeypatch):
    recipe = small_recipe(steps=3, warmup_steps=1)
    out = tmp_path / "control.json"
    options = [str(recipe), "--runs", str(tmp_path / "runs"), "--out", str(out), "--seeds", "0", "1"]
    monkeypatch.setattr(sys, "argv", ["control", *options])
    control.main()
    found = json.loads(out.read_text())
    assert [(row["arm"], row["seed"]) for row in found["runs"]] == [
        ("cross-entropy", 0),
        ("distillation", 0),
        ("cross-entropy", 1),
        ("distillation", 1),
    ]
    losses = [row["validation"]["held_out_loss_above_teacher_nats_per_token"] for row in found["runs"]]
    assert len(set(losses)) == 4, "a seed or an arm changed nothing"
    # Document by document the teacher's arm differs from the text's by as much as the figures do.
    assert [control.LESS_PLAIN in row for row in found["runs"]] == [False, True, False, True]
    for plain, taught in (found["runs"][:2], found["runs"][2:]):
        for name, told in taught[control.LESS_PLAIN].items():
            assert told["value"] == pytest.approx(taught["held_out"][name] - plain["held_out"][name], abs=1e-6)
            assert told["interval"][0] < told["value"] < told["interval"][1]
    page = out.with_suffix(".md").read_text()
    kl = found["runs"][1][control.LESS_PLAIN]["kl_to_teacher_nats_per_token"]["value"]
    assert (
        "| distillation: alpha 0.5, T 2, rate 0.002 | 0 | " in page.split("Held-out, less")[1]
        and f"{kl:+.3f} (" in page
    )
    assert "| **distillation: alpha 0.5, T 2, rate 0.002** | mean of 2 |" in page and "| start |" in page
    monkeypatch.setattr(sys, "argv", ["control", *options[:-1], "--learning-rate", "1e-4", "--arms", "cross-entropy"])
    control.main()
    assert len(json.loads(out.read_text())["runs"]) == 5


def test_an_arm_is_named_by_what_it_learns_from():
    row = {"arm": "distillation", "temperature": 2.0, "learning_rate": 4e-4}
    moving = {"shape": "linear", "start": 1.0, "end": 0.0}
    assert control._told(row | {"alpha": 0.0}) == "distillation: alpha 0, rate 0.0004"
    assert control._told(row | {"alpha": 0.5}) == "distillation: alpha 0.5, T 2, rate 0.0004"
    assert control._told(row | {"alpha": moving}) == "distillation: alpha 1 to 0, T 2, rate 0.0004"
