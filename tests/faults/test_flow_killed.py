"""kill -9 of a flow's process in each of its stages, and what Retry makes of what was finished."""

import os
import signal
import time

import pytest
from house import ROOT, House, Journal, wait_until
from processes import descendants, gone_after
from soak_results import Case

from stillhouse.store.artifact import WORK

pytestmark = pytest.mark.soak

STRIKES = {"alone": "alone begins", "in_child": "child begins", "train": "train begins"}


@pytest.mark.parametrize(
    ("stage", "again"), [("alone", "Retry"), ("in_child", "Retry"), ("train", "Retry"), ("train", "a new run")]
)
def test_kill_9_under_a_worker(house: House, case: Case, runs, journal: Journal, stage: str, again: str):
    case.fault = f"kill -9 of a worker's flow in its stage `{stage}`"
    asked = {"runs": str(runs), "seconds": 6, "seed": again}
    run = house.run("sweep/toy", **asked)
    journal.wait_for(STRIKES[stage])
    time.sleep(1.5)
    pid = journal.lines(f"{stage} begins")[0]["pid"]
    family = {pid, *descendants(pid)}
    assert len(family) == (2 if stage == "in_child" else 1)
    os.kill(pid, signal.SIGKILL)
    struck = time.monotonic()
    left = gone_after(family, 20)
    assert left is not None, "a child outlived its flow"
    case.left = f"{left:.1f} s"
    ended = house.end(run)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120

    if again == "Retry":
        ended, presses = house.retry(run)
    else:
        ended, presses = house.end(house.run("sweep/toy", **asked), 180), 1
    assert ended["name"] == "Packaged"
    begun = journal.lines(f"{stage} begins")
    earlier = [name for name in ("alone", "in_child") if name != stage][: list(STRIKES).index(stage)]
    assert len(begun) == 2 and all(len(journal.lines(f"{name} begins")) == 1 for name in earlier)
    pressed = " (pressed twice)" if presses == 2 else ""
    case.went_on = f"{again}{pressed}: {len(earlier) or 'no'} finished stage{'s' * (len(earlier) != 1)} found"
    if stage == "train":
        assert begun[1]["first"] > 0
        case.went_on += f", from checkpoint {begun[1]['first']}"


def test_kill_9_in_a_terminal(house: House, case: Case, runs):
    """No worker sees it die: the server misses its heartbeat."""
    case.fault = "`stillhouse run recipes/tiny.yaml` in a terminal: kill -9 in its training"
    command = ("-m", "stillhouse.cli", "run", str(ROOT / "recipes" / "tiny.yaml"), "--runs", str(runs))
    terminal = house.in_terminal("killed", *command)
    found = wait_until(lambda: list(runs.glob(f"store/distill/*.partial/{WORK}/step-*")), 240)
    assert found, house.log("killed")
    run = house.runs_of("compress")[0]["id"]
    family = {terminal.pid, *descendants(terminal.pid)}
    terminal.kill()
    struck = time.monotonic()
    terminal.wait()
    left = gone_after(family, 20)
    assert left is not None
    ended = house.end(run, 130)
    case.left, case.ended, case.known_after_seconds = f"{left:.1f} s", ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and "no sign of life for 90 seconds" in ended["message"]
    assert case.known_after_seconds < 120
    again = house.in_terminal("again", *command)
    assert wait_until(lambda: "goes on from step" in house.log("again"), 120), house.log("again")
    again.terminate()
    assert again.wait(60) == -signal.SIGTERM
    case.went_on = "the same command: from the training's checkpoint (then stopped by this test)"
