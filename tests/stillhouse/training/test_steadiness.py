"""Jumps of the gradient are found where there are some, and told to whoever trained."""

import json
import logging
from pathlib import Path

import pytest

from stillhouse.training.loop import _tell_jumps
from stillhouse.training.steadiness import jumps
from tests.stillhouse.training.trainings import run

STEADY = [2.0 + 0.5 * (-1) ** number for number in range(100)]


def with_jumps(*steps: int, norm: float = 30.0) -> list[float]:
    return [norm + step if step in steps else value for step, value in enumerate(STEADY, start=1)]


def test_every_step_far_above_those_before_it_is_a_jump():
    found = jumps(with_jumps(20, 50, 51))
    assert found.at == (19, 49, 50) and not found.are_many
    assert "3 of 100 steps" in found.told and "to 81 at step 51" in found.told
    assert jumps(STEADY).at == ()


@pytest.mark.parametrize(
    "norms",
    [
        [50 / step for step in range(1, 101)],
        [0.1 * step for step in range(1, 101)],
        [9.0] * 30 + [1.0] * 70,
        [0.0] * 40 + [2.0],
        [3.0],
        [],
    ],
    ids=["falls from the start", "rises with a coefficient", "falls at once", "weights of nothing", "one step", "none"],
)
def test_norms_that_move_together_do_not_jump(norms: list[float]):
    assert jumps(norms).at == () and not jumps(norms).are_many


@pytest.mark.parametrize(("number", "are_many"), [(5, False), (6, True)])
def test_one_step_in_twenty_is_still_steady(number: int, are_many: bool, caplog: pytest.LogCaptureFixture):
    norms = with_jumps(*range(10, 10 + 12 * number, 12))
    assert jumps(norms).are_many == are_many
    with caplog.at_level(logging.WARNING):
        assert _tell_jumps([{"gradient_norm": norm} for norm in norms]) == number
    assert ("a lower distillation.learning_rate" in caplog.text) == are_many
    if are_many:
        assert (
            "jumped at 6 of 100 steps" in caplog.text and "at most to 100 at step 70 where 2.5 is usual" in caplog.text
        )


def test_a_training_counts_its_own_jumps(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stillhouse.training.steadiness.JUMP", 0.5)
    folder = run(inputs, tmp_path / "trained", steps=8)
    norms = [entry["gradient_norm"] for entry in json.loads((folder / "history.json").read_text())["training"]]
    # All of the three that have enough steps before them, for norms of six steps do not fall to half.
    assert json.loads((folder / "facts.json").read_text())["gradient_jumps"] == len(jumps(norms).at) == 3
