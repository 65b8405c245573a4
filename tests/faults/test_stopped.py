"""A run that somebody stops: cancelled in the UI, or its process told to end; under a worker, and in a terminal."""

import os
import signal
import time

import pytest
from house import ROOT, House, Journal, wait_until
from processes import descendants, gone_after, lives
from soak_results import Case

pytestmark = pytest.mark.soak


def test_cancelled_under_a_worker(house: House, case: Case, runs, journal: Journal):
    case.fault = "cancelled in the UI, under a worker, in `in_child`"
    run = house.run("sweep/toy", runs=str(runs), seconds=6, seed="cancel")
    journal.wait_for("child begins")
    pid = journal.lines("in_child begins")[0]["pid"]
    family = {pid, *descendants(pid)}
    assert len(family) == 2
    house.cancel(run)
    struck = time.monotonic()
    left = gone_after(family, 40)
    assert left is not None
    ended = house.end(run)
    case.left, case.ended, case.known_after_seconds = f"{left:.1f} s", ended["name"], time.monotonic() - struck
    assert ended["type"] == "CANCELLED" and ended["name"] == "Cancelled" and case.known_after_seconds < 120
    ended, presses = house.retry(run)
    assert ended["name"] == "Packaged" and presses == 1
    assert len(journal.lines("alone begins")) == 1
    case.went_on = "Retry: 1 finished stage found"


def test_cancelled_before_it_works(house: House, case: Case, runs, journal: Journal):
    case.fault = "cancelled in the UI while its process starts"
    run = house.run("sweep/toy", runs=str(runs), seconds=2, seed="early")
    assert wait_until(lambda: house.get(f"/flow_runs/{run}")["infrastructure_pid"], 60)
    pid = int(house.get(f"/flow_runs/{run}")["infrastructure_pid"].rpartition(":")[2])
    assert lives(pid)
    house.cancel(run)
    struck = time.monotonic()
    left = gone_after({pid}, 40)
    ended = house.end(run)
    assert left is not None
    case.left, case.ended, case.known_after_seconds = f"{left:.1f} s", ended["name"], time.monotonic() - struck
    assert ended["type"] == "CANCELLED" and case.known_after_seconds < 120
    assert not journal.lines()


def test_cancelled_before_a_worker_took_it(house: House, case: Case, runs, journal: Journal):
    case.fault = "cancelled in the UI while it waits for a worker"
    for worker in house.workers:
        worker.terminate()
        worker.wait(40)
    run = house.run("sweep/toy", runs=str(runs), seconds=2, seed="unseen")
    house.cancel(run)
    struck = time.monotonic()
    ended = house.end(run, 130)
    case.left, case.ended, case.known_after_seconds = "", ended["name"], time.monotonic() - struck
    assert ended["type"] == "CANCELLED" and case.known_after_seconds < 120
    assert not journal.lines()


def test_sigterm_under_a_worker(house: House, case: Case, runs, journal: Journal):
    case.fault = "SIGTERM to a worker's flow in `in_child`"
    run = house.run("sweep/toy", runs=str(runs), seconds=6, seed="term")
    journal.wait_for("child begins")
    pid = journal.lines("in_child begins")[0]["pid"]
    family = {pid, *descendants(pid)}
    os.kill(pid, signal.SIGTERM)
    struck = time.monotonic()
    left = gone_after(family, 40)
    assert left is not None
    ended = house.end(run)
    case.left, case.ended, case.known_after_seconds = f"{left:.1f} s", ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
    ended, presses = house.retry(run)
    assert ended["name"] == "Packaged"
    assert len(journal.lines("alone begins")) == 1
    case.went_on = "Retry: 1 finished stage found"


@pytest.mark.parametrize(
    ("how", "ends_as", "code"),
    [("cancelled in the UI", "CANCELLED", 130), ("SIGTERM", "CRASHED", -signal.SIGTERM), ("Ctrl-C", "CRASHED", 130)],
)
def test_stopped_in_a_terminal(house: House, case: Case, runs, how: str, ends_as: str, code: int):
    """The real recipe, for the command line's part in it."""
    case.fault = f"`stillhouse run recipes/tiny.yaml`: {how}"
    command = ("-m", "stillhouse.cli", "run", str(ROOT / "recipes" / "tiny.yaml"), "--runs", str(runs))
    name = f"terminal-{ends_as}-{code}"
    terminal = house.in_terminal(name, *command)
    assert wait_until(lambda: list(runs.glob("store/encode_documents/*/manifest.json")), 120), house.log(name)
    family = {terminal.pid, *descendants(terminal.pid)}
    run = house.runs_of("compress")[0]["id"]
    match how:
        case "SIGTERM":
            terminal.terminate()
        case "Ctrl-C":
            terminal.send_signal(signal.SIGINT)
        case _:
            house.cancel(run)
    struck = time.monotonic()
    left = gone_after(family, 60)
    assert left is not None
    ended = house.end(run)
    case.left, case.ended, case.known_after_seconds = f"{left:.1f} s", ended["name"], time.monotonic() - struck
    assert ended["type"] == ends_as and case.known_after_seconds < 120
    time.sleep(3)
    assert house.state(run)["type"] == ends_as, "the end was overwritten"
    assert terminal.wait() == code, house.log(name)[-2000:]
    if code == 130:
        assert "the same command goes on from here" in house.log(name)
