"""A worker that is killed, or told to end, takes its flow with it; and one that works in another folder works."""

import os
import signal
import time

import pytest
from house import House, Journal, wait_until
from processes import descendants, gone_after
from soak_results import Case

from stillhouse.store.artifact import WORK

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_takes_its_flow_with_it(house: House, case: Case, runs, journal: Journal, how: signal.Signals):
    case.fault = f"{how.name} to a worker whose flow is in `in_child`"
    run = house.run("sweep/toy", runs=str(runs), seconds=6, seed=how.name)
    journal.wait_for("child begins")
    worker = house.workers[-1]
    family = {worker.pid, *descendants(worker.pid)}
    assert len(family) == 3
    worker.send_signal(how)
    struck = time.monotonic()
    # Who started it sees it end.
    worker.wait(60)
    left = gone_after(family, 60)
    assert left is not None
    case.left = f"{time.monotonic() - struck:.1f} s"
    ended = house.end(run)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
    house.start_worker("next")
    ended, _ = house.retry(run)
    assert ended["name"] == "Packaged"
    assert len(journal.lines("alone begins")) == 1
    case.went_on = "Retry, with the next worker: 1 finished stage found"


def test_a_flow_whose_worker_dies_while_it_starts(house: House, case: Case, runs, journal: Journal):
    case.fault = "kill -9 of a worker whose flow's process has just started"
    run = house.run("sweep/toy", runs=str(runs), seconds=6, seed="starts")
    worker = house.workers[-1]
    assert wait_until(lambda: descendants(worker.pid), 60, every=0.02)
    family = {worker.pid, *descendants(worker.pid)}
    # By then it has asked the server for its run, and nobody watches over it yet.
    assert wait_until(lambda: house.get(f"/flow_runs/{run}")["infrastructure_pid"], 60, every=0.02)
    worker.kill()
    struck = time.monotonic()
    worker.wait()
    left = gone_after(family, 60)
    assert left is not None, journal.lines()
    case.left = f"{left:.1f} s"
    ended = house.end(run, 130)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
    house.start_worker("after")
    ended, _ = house.retry(run)
    assert ended["name"] == "Packaged"
    case.went_on = "Retry, with the next worker"


def test_a_worker_in_another_folder(house: House, deployed: House, case: Case, tmp_path, runs):
    """With the real recipe, killed in its training: what a wrong folder would break is found there."""
    case.fault = "a worker that was started in another folder; kill -9 of its flow in the training of recipes/tiny.yaml"
    for worker in house.workers:
        worker.terminate()
        worker.wait(40)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # A folder of this name would shadow the project's package if the worker's folder came first on the path.
    (elsewhere / "flows").mkdir()
    (elsewhere / "flows" / "__init__.py").write_text("raise ImportError('the wrong one')\n")
    worker = house.start_worker("elsewhere", folder=elsewhere)
    run = house.run("compress/compress", preset="tiny", changes={"variants": ["torch-fp32"]}, runs=str(runs))
    found = wait_until(lambda: list(runs.glob(f"store/distill/*.partial/{WORK}/step-*")), 240)
    assert found, house.log("elsewhere")[-3000:]
    (flow,) = (pid for pid in descendants(worker.pid) if "prefect.engine" in _command(pid))
    family = {flow, *descendants(flow)}
    os.kill(flow, signal.SIGKILL)
    struck = time.monotonic()
    left = gone_after(family, 20)
    assert left is not None
    case.left = f"{left:.1f} s"
    ended = house.end(run)
    case.ended, case.known_after_seconds = ended["name"], time.monotonic() - struck
    assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
    ended, _ = house.retry(run, 400)
    assert ended["name"] == "Packaged", ended
    assert "goes on from step" in house.log("elsewhere")
    case.went_on = "Retry: teacher, data and pruned student found, training from its checkpoint; a package"
    assert not (elsewhere / "runs").exists()
    worker.terminate()
    worker.wait(40)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""
