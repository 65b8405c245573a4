"""The synthetic task of two teachers: every student is taught as it is told, and asked what both know."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import several_teachers_synthetic as study


def test_every_way_of_sharing_is_trained_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "found.json"
    few = ["--seeds", "0", "--steps", "2", "--documents", "90", "--asked", "4", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(out), *few])
    study.main()
    runs = {run["model"]: run for run in json.loads(out.read_text())["runs"]}
    assert list(runs) == [*(f"teacher of {domain}" for domain in study.DOMAINS), *study.ARMS]
    assert all(0 <= run[domain] <= 1 for run in runs.values() for domain in study.DOMAINS)
    assert runs["both, by domain"]["say"] == pytest.approx({"backwards": 1.0, "sorted": 1.0})
    assert runs["both, fixed"]["say"] == pytest.approx({"backwards": 0.5, "sorted": 0.5})
    assert "| both, by domain | " in out.with_suffix(".md").read_text()


def test_by_what_the_text_costs_them_the_teacher_that_knows_it_is_heard(tmp_path: Path):
    """After forty steps neither answers rightly, but each expects letters of its own task more."""
    name = "both, by confidence: cross-entropy"
    rows = study.measure(0, study.Effort(steps=40, documents=700, asked=4, threads=1), tmp_path)
    say = next(row["say"] for row in rows if row["model"] == name)
    assert set(say) == set(study.DOMAINS) and min(say.values()) > 0.6
