"""The synthetic task of the capacity gap: who teaches whom, with how many steps, and a whole study in small."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import capacity_gap_synthetic as study


def test_every_model_is_trained_after_its_teacher_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "found.json"
    few = ["--seeds", "0", "--steps", "4", "--documents", "90", "--asked", "4", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["study", "--out", str(out), *few])
    taught = []

    def teach(folder, read, lesson):
        taught.append((folder.name, read["start"].name, read["teacher"].name, lesson.alpha, lesson.steps))
        return original(folder, read, lesson)

    original = study.teach
    monkeypatch.setattr(study, "teach", teach)
    study.main()
    assert [run["model"] for run in json.loads(out.read_text())["runs"]] == list(study.TRAININGS)
    assert "| directly | 1, 24 | large teacher | 4 | " in out.with_suffix(".md").read_text()
    by_name = {name: rest for name, *rest in taught}
    assert by_name["large teacher"] == ["start-large-True", "start-large-True", 0.0, 4]
    assert by_name["directly"] == ["start-small-False", "large teacher", 1.0, 4]
    assert by_name["through the middle, equal steps in all"] == ["start-small-False", "middle student, half", 1.0, 2]


def test_the_way_through_the_middle_takes_as_many_steps_in_all_as_the_direct_one():
    last = study.TRAININGS["through the middle, equal steps in all"]
    between = study.TRAININGS[last.by]
    assert last.share + between.share == study.TRAININGS["directly"].share
    assert between.by == study.TRAININGS["directly"].by
