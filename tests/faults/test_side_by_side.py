"""Runs beside each other: of one recipe, and of two workers that share a machine with one accelerator."""

import os
import signal
import time

import pytest
from house import House, Journal
from processes import gone_after
from soak_results import Case

pytestmark = pytest.mark.soak


def test_two_runs_of_one_recipe(house: House, case: Case, runs, journal: Journal):
    case.fault = "two runs of one recipe at once"
    asked = {"runs": str(runs), "seconds": 3, "seed": "twins"}
    both = [house.run("sweep/toy", **asked) for _ in range(2)]
    assert {house.end(run, 180)["name"] for run in both} == {"Packaged"}
    for stage in ("alone", "in_child", "train"):
        assert len(journal.lines(f"{stage} begins")) == len(journal.lines(f"{stage} done")) == 1
    assert len(journal.lines("all done")) == 2
    case.ended = "both Packaged; each stage was done once"


def test_one_accelerator_and_two_workers(house: House, case: Case, runs, journal: Journal):
    case.fault = "two workers, one accelerator: two runs that train; then kill -9 of the one that holds the slot"
    house.start_worker("second")
    both = {house.run("sweep/toy", runs=str(runs), seconds=seconds, seed=seed): seed for seed, seconds in SHARES}
    holder = journal.wait_for("train begins", seconds=150)
    # The other one has long asked for the slot when this has been held for a while.
    journal.wait_for("in_child done", times=2, seconds=150)
    time.sleep(8)
    assert len(journal.lines("train begins")) == 1 and not journal.lines("train done")
    assert house.slots_taken() == 1
    os.kill(holder["pid"], signal.SIGKILL)
    struck = time.time()
    left = gone_after({holder["pid"]}, 20)
    assert left is not None
    case.left = f"{left:.1f} s"
    other = journal.wait_for("train begins", times=2, seconds=120)
    waited = other["at"] - struck
    assert other["pid"] != holder["pid"] and waited < 100
    ends = {both[run]: house.end(run, 180)["name"] for run in both}
    assert sorted(ends.values()) == ["Crashed", "Packaged"]
    case.ended = f"Crashed, and the other Packaged; its training began {waited:.0f} s after the kill"
    assert house.slots_taken() == 0


SHARES = (("one", 25.0), ("two", 24.8))
"""Long enough that the first still trains when the second wants to."""


def test_two_workers_take_turns(house: House, case: Case, runs, journal: Journal):
    case.fault = "two workers, one accelerator: three runs"
    house.start_worker("another")
    three = [house.run("sweep/toy", runs=str(runs), seconds=3, seed=f"turn {number}") for number in range(3)]
    assert {house.end(run, 240)["name"] for run in three} == {"Packaged"}
    began, ended = (sorted(line["at"] for line in journal.lines(f"train {what}")) for what in ("begins", "done"))
    assert len(began) == 3
    assert all(end <= begin for end, begin in zip(ended, began[1:], strict=False)), "two trained at once"
    waits = [begin - end for end, begin in zip(ended, began[1:], strict=False)]
    case.ended = f"all Packaged; one trained at a time, the next {max(waits):.0f} s after at most"
