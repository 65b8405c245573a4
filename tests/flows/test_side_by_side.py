"""Works in processes of their own, side by side: one that dies takes no other with it, and none outlives its caller."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flows.side_by_side import Piece, Places, in_threads, through_runner
from stillhouse import progress
from stillhouse.errors import InputError

FUNCTIONS = """
import os, pathlib, time
from stillhouse import progress

def work(payload):
    with progress.of_stage("distill"):
        progress.step("training", 1, 2)
    if payload["value"] == 0:
        raise MemoryError("not with so little")
    if payload["value"] < 0:
        os.kill(os.getpid(), 9)
    return {"value": 2 * payload["value"], "pid": os.getpid()}

def note_pid_and_sleep(payload):
    pathlib.Path(payload["folder"], str(os.getpid())).touch()
    time.sleep(120)

def in_a_stage(payload):
    from prefect import task
    from flows.side_by_side import of_task_run

    @task(name="Stage")
    def stage():
        return payload["value"] + 1

    with of_task_run(payload) as in_flow:
        return {"value": stage(), "in_flow": in_flow}
"""
LOCAL = Places("local", workers=2)


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_works.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def pieces(*values: int) -> list[Piece]:
    return [Piece(f"Run {number}", f"run-{number}", {"value": value}) for number, value in enumerate(values, start=1)]


def test_a_work_that_fails_and_one_that_dies_stop_no_other():
    said: list[progress.Progress] = []
    with progress.listening(said.append):
        good, failed, died, last = in_threads(LOCAL, "toy_works:work", pieces(3, 0, -1, 4))
    assert isinstance(good, dict) and isinstance(last, dict)
    assert (good["value"], last["value"]) == (6, 8)
    assert len({good["pid"], last["pid"], os.getpid()}) == 3
    assert "not with so little" in str(failed)
    assert "killed by signal 9" in str(died)
    # Each says which run it is, and which of its stages speaks.
    assert {(step.stage, step.note) for step in said} == {
        (f"run-{number}", "distill: training") for number in (1, 2, 3, 4)
    }


def test_none_goes_on_when_the_caller_is_stopped(tmp_path: Path):
    """As by a signal, which Prefect turns into an exception of the main thread."""
    asked = [Piece(f"Run {number}", f"run-{number}", {"folder": str(tmp_path)}) for number in (1, 2, 3)]
    main = threading.main_thread().ident
    assert main is not None
    stopped = threading.Thread(target=stop_when_two_work, args=(main, tmp_path), daemon=True)
    stopped.start()
    started = time.monotonic()
    # A shell that starts us in the background makes us deaf to the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_threads(LOCAL, "toy_works:note_pid_and_sleep", asked)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 60
    pids = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(pids) == 2, "the third waited for a place, and must not start any more"
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def stop_when_two_work(thread: int, folder: Path) -> None:
    while len([path for path in folder.iterdir() if path.name.isdigit()]) < 2:
        time.sleep(0.05)
    signal.pthread_kill(thread, signal.SIGINT)


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (Places("local", 0), "workers is 0; give 1 or more"),
        (Places("local", 2, "tcp://somewhere:8786"), "runner is local, but scheduler is tcp://somewhere:8786"),
    ],
)
def test_places_that_cannot_be_are_refused(places: Places, says: str):
    with pytest.raises(InputError, match=says):
        places.check()


def test_a_cluster_is_refused_where_dask_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flows.side_by_side.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"prefect-dask is not installed.*'\.\[dask\]'"):
        Places("dask", 2).check()


def test_a_cluster_is_refused_without_a_server():
    with pytest.raises(InputError, match="needs a Prefect server"):
        in_threads(Places("dask", 2), "toy_works:work", pieces(1))


@pytest.mark.parametrize("runner", ["local", "dask"])
def test_each_runner_runs_works_as_task_runs_whose_stages_are_task_runs_too(runner, server):
    from prefect import flow
    from prefect.runtime import flow_run

    ids = []

    @flow(name=f"beside-{runner}")
    def beside() -> None:
        ids.append(flow_run.id)
        ended = through_runner(Places(runner, 2), "toy_works:in_a_stage", pieces(1, 2, 3))
        assert ended == [{"value": value, "in_flow": True} for value in (2, 3, 4)]

    beside()
    # The server writes down what it is told in the background.
    deadline = time.monotonic() + 20
    while len(runs := runs_of(ids)) < 6 and time.monotonic() < deadline:
        time.sleep(0.2)
    by_id = {run.id: run for run in runs}
    stages = [run for run in runs if run.name.startswith("Stage")]
    parents = {by_id[parent.id].name for stage in stages for parent in stage.task_inputs["__parents__"]}
    assert parents == {"Run 1", "Run 2", "Run 3"}
    assert {run.state_name for run in runs} == {"Completed"} and len(runs) == 6


def runs_of(ids: list) -> list:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": ids}))


@pytest.fixture(scope="module")
def server():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
