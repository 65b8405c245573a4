"""The view of equal time: what is timed, in one sitting, and how much text a row has by that."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.techniques import __main__ as filling
from benchmarks.techniques import sitting, timings
from benchmarks.techniques.equal_time import changes_in_equal_time, scaled
from benchmarks.techniques.rows import PLAIN_KL, ROWS
from benchmarks.techniques.timings import Sitting, Timing, to_time
from benchmarks.techniques.train import BASE

CACHED = "cached, top 12"
"""Has work of its own before it is trained and at every step."""


def timing(row: str, seconds: float, before: float = 0.0, seed: int = 1) -> Timing:
    return Timing(row, seed, seconds, seconds - before, 0.0)


def test_twice_the_time_is_twice_the_steps_and_tokens_of_every_part():
    asked = {"data": {"train_tokens": 100}, "route": {"through": [{"steps": 7, "layers": 3}]}, "warmup_steps": 5}
    found = scaled(asked, 2.0)
    assert found == {
        "data": {"train_tokens": 200},
        "route": {"through": [{"steps": 14, "layers": 3}]},
        "warmup_steps": 5,
    }


def test_every_kind_of_work_is_timed_before_the_view_of_equal_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run: list[list[str]] = []
    monkeypatch.setattr(filling, "subprocess", SimpleNamespace(run=lambda command, **_: run.append(command)))
    where = ["--base", "my.yaml", "--out", str(tmp_path / "mine")]
    monkeypatch.setattr("sys.argv", ["techniques", *where, "--rows", PLAIN_KL, "--seeds", "1", "2"])
    filling.main()
    modules = [command[2].rpartition(".")[2] for command in run]
    assert modules == ["train", "train", "sitting", "train", "train"]
    assert run[2][3:] == where


def test_equal_time_is_equal_tokens_for_a_row_that_is_as_fast(tmp_path: Path):
    # What comes before the training takes as long with less text, and a tenth of the text is the least.
    cases = ((108.0, 0, None), (50.0, 0, 80_000), (200.0, 0, 20_000), (140.0, 60.0, 20_000), (240.0, 120.0, 4_000))
    for seconds, before, expected in cases:
        timings.write(tmp_path, Sitting({}, (timing(PLAIN_KL, 100.0), timing(CACHED, seconds, before))))
        changes = changes_in_equal_time(CACHED, BASE, tmp_path)
        assert changes.get("data", {}).get("train_tokens") == expected
        assert changes["knowledge"] == ROWS[CACHED].changes["knowledge"]


def test_a_row_has_no_share_before_its_work_and_plain_kls_are_timed(tmp_path: Path):
    for held, missing in (
        ((), PLAIN_KL),
        ((timing(PLAIN_KL, 1.0),), "features"),
        ((timing("features", 1.0),), PLAIN_KL),
    ):
        if held:
            timings.write(tmp_path, Sitting({}, held))
        with pytest.raises(ValueError, match=f"the work of {missing} was not timed; run python -m benchmarks"):
            changes_in_equal_time("features", BASE, tmp_path)


def test_rows_that_do_the_same_work_are_told_one_speed(tmp_path: Path):
    """The middle one of theirs: of plain KL's a slow one is no slower for the others."""
    plain = (timing(PLAIN_KL, 190.0), timing(PLAIN_KL, 100.0, seed=2), timing(PLAIN_KL, 98.0, seed=3))
    # What an order is made by takes 40 seconds; it is trained as plain KL is.
    timings.write(tmp_path, Sitting({}, (*plain, timing("curriculum, hard first", 142.0, before=40.0))))
    assert changes_in_equal_time("reverse KL", BASE, tmp_path) == ROWS["reverse KL"].changes
    for row in ("curriculum, hard first", "curriculum, growing pool"):
        # The middle of 98, 100, 102 and 190 is 101.
        assert changes_in_equal_time(row, BASE, tmp_path)["data"]["train_tokens"] == round(40_000 * 61 / 101)


def test_every_kind_of_work_is_timed_and_plain_kl_around_it():
    asked = list(to_time())
    rows = [row for row, _ in asked]
    assert [rows.index(PLAIN_KL), rows.count(PLAIN_KL), rows[-1]] == [0, 3, PLAIN_KL]
    assert abs(rows.index(PLAIN_KL, 1) - len(rows) // 2) <= 1
    # No training twice: the store would tell the first one's time.
    assert len(set(asked)) == len(asked)
    timed = {(ROWS[row].trains_as, ROWS[row].prepares_as) for row in rows}
    assert timed == {(row.trains_as, row.prepares_as) for row in ROWS.values()}
    assert len(rows) == len(timed) + 2


def test_a_sitting_goes_on_where_it_was_and_nowhere_else(small_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = small_recipe(alpha=1.0, temperature=1.0)
    asked = ((PLAIN_KL, 1), ("cross-entropy", 1), (PLAIN_KL, 2))
    common = ("--base", str(base), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--threads", "1")
    monkeypatch.setattr("sys.argv", ["sitting", *common])
    for number in (2, 3):
        monkeypatch.setattr(sitting, "to_time", lambda number=number: asked[:number])
        sitting.main()
    found = timings.read(tmp_path / "out")
    assert [(each.row, each.seed) for each in found.timings] == list(asked)
    assert all(0 < each.training_seconds == each.seconds for each in found.timings)
    timings.write(tmp_path / "out", replace(found, environment={"processor": "another"}))
    with pytest.raises(ValueError, match=r"sitting.json was timed on another and this is .*: go on there, or delete"):
        sitting.main()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_is_said_to_train_as_plain_kl_does_its_steps(row: str):
    """Another loss, weight, rate, order or selection of text: all else takes time of its own."""
    changes = ROWS[row].changes
    distillation = changes.get("distillation", {})
    alike = changes.keys() <= {"distillation", "data", "curriculum", "refit"}
    alike = alike and distillation.keys() <= {"loss", "alpha", "temperature", "learning_rate", "steps"}
    assert (ROWS[row].trains_as == ROWS[PLAIN_KL].trains_as) == (alike and distillation.get("alpha") != 0)


@pytest.mark.parametrize("row", ROWS)
def test_rows_that_are_said_to_do_the_same_work_ask_for_the_same(row: str):
    def steps(name: str) -> dict:
        """What else than a loss's kind, its weights and the choice of rows decides of a step."""
        changes = ROWS[name].changes
        route = changes.get("route", {}), changes.get("knowledge", {})
        own = {key: changes.get("distillation", {}).get(key) for key in ("features", "on_policy")}
        return {"route": route, **own, "text alone": changes.get("distillation", {}).get("alpha") == 0}

    def before(name: str) -> dict:
        changes = ROWS[name].changes
        curriculum = changes.get("curriculum", {})
        sampled = changes.get("data", {}).get("answers")
        between = changes["route"].get("through") if "route" in changes else None
        asked = {"refit": changes.get("refit"), "sampled": sampled, "between": between}
        knowledge = changes["knowledge"] if changes.get("knowledge", {}).get("kind") == "cached" else None
        return asked | {"measure": curriculum.get("leave_out", bool(curriculum)), "knowledge": knowledge}

    for other in ROWS:
        assert (ROWS[row].trains_as == ROWS[other].trains_as) == (steps(row) == steps(other)), other
        assert (ROWS[row].prepares_as == ROWS[other].prepares_as) == (before(row) == before(other)), other
