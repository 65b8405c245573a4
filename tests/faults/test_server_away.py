"""A server that is killed, or away just when it is asked: runs go on, and what it says of them becomes true again."""

import os
import signal
import subprocess
import sys
import time

import pytest
from house import ROOT, House, Journal, free_port, wait_until
from processes import descendants, gone_after
from soak_results import Case

pytestmark = pytest.mark.soak


def test_away_for_a_moment_while_a_stage_works(house: House, case: Case, runs, journal: Journal):
    case.fault = "the server killed in `alone`, and back after 10 s"
    run = house.run("sweep/toy", runs=str(runs), seconds=15, seed="moment")
    journal.wait_for("alone begins")
    house.kill_server()
    time.sleep(10)
    house.start_server()
    assert house.state(run)["type"] == "RUNNING"
    ended = house.end(run, 180)
    assert ended["name"] == "Packaged"
    case.ended, case.left = ended["name"], "it worked on"
    assert len(journal.lines("alone begins")) == 1
    assert "Crashed" not in house.states(run)


def test_away_when_a_slot_is_asked_for_and_when_the_run_ends(house: House, case: Case, runs, journal: Journal):
    case.fault = "the server away when `train` asks for the accelerator, and away again when the run ends"
    run = house.run("sweep/toy", runs=str(runs), seconds=5, seed="slot")
    journal.wait_for("child begins")
    house.kill_server()
    journal.wait_for("in_child done")
    time.sleep(15)
    assert not journal.lines("train begins")
    house.start_server()
    journal.wait_for("train begins", seconds=120)
    house.kill_server()
    journal.wait_for("train done", seconds=60)
    time.sleep(20)
    house.start_server()
    back = time.monotonic()
    ended = house.end(run, 130)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - back
    assert ended["name"] == "Packaged" and case.known_after_seconds < 120
    case.left = "it waited"
    assert sum(line["what"].endswith("begins") for line in journal.lines()) == 4, "a stage was done twice"
    assert wait_until(lambda: house.slots_taken() == 0, 120), "the accelerator's slot stayed taken"


def test_away_for_long_while_a_stage_works(house: House, case: Case, runs, journal: Journal):
    """Longer than a run may be silent: a server that comes back takes it for dead."""
    case.fault = "the server killed in `alone`, and back after 100 s, in which it heard no heartbeat"
    run = house.run("sweep/toy", runs=str(runs), seconds=250, seed="long")
    pid = journal.wait_for("alone begins")["pid"]
    time.sleep(5)
    house.kill_server()
    time.sleep(100)
    house.start_server()
    back = time.monotonic()
    time.sleep(25)
    assert wait_until(lambda: house.state(run)["type"] == "RUNNING", 60), house.states(run)
    case.known_after_seconds = time.monotonic() - back
    time.sleep(20)
    assert house.state(run)["type"] == "RUNNING"
    went_through = house.states(run)
    case.ended = f"Running, as it was ({' > '.join(went_through[-3:])})"
    case.left = "it worked on"
    # The worker gave up listening for cancellations when the server went.
    family = {pid, *descendants(pid)}
    house.cancel(run)
    cancelled = time.monotonic()
    assert gone_after(family, 90) is not None
    assert house.end(run)["type"] == "CANCELLED"
    case.went_on = f"then cancelled in the UI: gone, and Cancelled, after {time.monotonic() - cancelled:.0f} s"


def test_everything_killed_at_once(house: House, case: Case, runs, journal: Journal):
    """As when a machine loses power, with the accelerator taken; the server is back after its run's time was up."""
    case.fault = "server, worker and flow killed at once in `train`; the server and a worker back after 170 s"
    run = house.run("sweep/toy", runs=str(runs), seconds=5, seed="power")
    pid = journal.wait_for("train begins")["pid"]
    time.sleep(2)
    assert house.slots_taken() == 1
    worker = house.workers[-1]
    family = {pid, worker.pid, *descendants(pid)}
    house.kill_server()
    for one in (worker.pid, pid):
        os.kill(one, signal.SIGKILL)
    worker.wait()
    left = gone_after(family, 20)
    assert left is not None
    case.left = f"{left:.1f} s"
    time.sleep(170)
    house.start_server()
    back = time.monotonic()
    ended = house.end(run, 130)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - back
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
    house.start_worker("after-power")
    ended, _ = house.retry(run)
    assert ended["name"] == "Packaged"
    begun = journal.lines("train begins")
    assert len(begun) == 2 and begun[1]["first"] > 0 and len(journal.lines("alone begins")) == 1
    case.went_on = f"Retry: 2 finished stages found, from checkpoint {begun[1]['first']}; the slot came free"


def test_absent_when_a_terminal_starts_a_run(case: Case, tmp_path):
    case.fault = "PREFECT_API_URL names a server that is not there; `stillhouse run recipes/tiny.yaml`"
    address = f"http://127.0.0.1:{free_port()}/api"
    environment = {**os.environ, "PREFECT_API_URL": address, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    recipe = str(ROOT / "recipes" / "tiny.yaml")
    command = [sys.executable, "-m", "stillhouse.cli", "run", recipe, "--runs", str(tmp_path / "runs")]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            made = wait_until(lambda: list(tmp_path.glob("runs/store/prune_layers/*/manifest.json")), 180)
        finally:
            process.terminate()
            process.wait(60)
    told = (tmp_path / "log").read_text()
    assert made, told
    assert f"no Prefect server answers at {address}: this goes on without one" in told
    case.ended = "it says so and goes on without: teacher, data and start were made, then this test stopped it"
