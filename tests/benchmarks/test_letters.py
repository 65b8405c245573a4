"""Two tasks with known answers: what is asked is what is taught, and a model that has learned it is told so."""

from pathlib import Path

import pytest

from benchmarks import letters
from benchmarks.letters import Lesson, Size


def test_what_is_taught_is_what_is_asked():
    assert letters.answer("backwards", "badcfe") == "efcdab"
    assert letters.answer("sorted", "badcfe") == "abcdef"


def test_a_model_that_learned_a_few_answers_gives_them_and_no_others(tmp_path: Path):
    """By heart: right answers are counted as right, and an answer to the other task is none."""
    few = ["badcfe", "ffaabc", "lkhgij", "aceghi"] * 30
    letters.write_dataset(tmp_path / "data", {"sorted": few})
    start = letters.start_model(tmp_path / "start", Size(width=32, layers=1), seed=0)
    read = {"start": start, "teacher": start, "dataset": tmp_path / "data"}
    letters.teach(tmp_path / "student", read, Lesson(steps=60, alpha=0.0, seed=0, threads=1))
    asked = {"sorted": few[:4], "backwards": few[:4]}
    assert letters.share_right(tmp_path / "student", asked) == pytest.approx({"sorted": 1.0, "backwards": 0.0})
    assert letters.share_right(start, asked) == pytest.approx({"sorted": 0.0, "backwards": 0.0})
