"""Starts of half the parameters: four ways to cut, one seed, on the tiny teacher."""

import json
import sys
from pathlib import Path

import yaml

from benchmarks import student_starts

ROOT = Path(__file__).parents[2]


def test_every_start_is_near_half_of_the_teacher_and_trained_alike(tmp_path: Path, monkeypatch):
    content = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
    content |= {"teacher": str(ROOT / "tests" / "tiny_teacher"), "gates": []}
    content["data"] |= {
        "sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 60}],
        "train_tokens": 4000,
        "validation_tokens": 1500,
        "held_out_tokens": 1500,
    }
    content["student"]["ranking_tokens"] = 512
    content["distillation"] |= {"steps": 2, "warmup_steps": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "starts.json"
    options = ["--runs", str(tmp_path / "runs"), "--out", str(out), "--seeds", "0", "--train-tokens", "4000"]
    monkeypatch.setattr(sys, "argv", ["student_starts", str(tmp_path / "tiny.yaml"), *options])
    student_starts.main()
    found = json.loads(out.read_text())
    assert list(found["starts"]) == list(student_starts.STARTS)
    assert [row["start"] for row in found["runs"]] == list(student_starts.STARTS)
    assert len({(row["tokens"], row["steps"]) for row in found["runs"]}) == 1
    losses = [row["validation"]["held_out_loss_above_teacher_nats_per_token"] for row in found["runs"]]
    # With so few layers both rankings may keep the same ones.
    assert len(set(losses)) >= 3
    assert "| **depth and width** |" in out.with_suffix(".md").read_text()
