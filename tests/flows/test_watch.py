"""What a flow's process sees to itself. The faults themselves are done in tests/faults."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.states import Cancelled, Cancelling, Crashed, Pending, Running

from flows import server, watch
from flows.operate import _lives
from flows.watch import Watch
from flows.work import through_prefect

API = "http://127.0.0.1:4599/api"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a watch did instead of ending this process."""
    done: list[str] = []
    monkeypatch.setattr(Watch, "_end", lambda self, because: done.append(because or "cancelled"))
    monkeypatch.setattr(server, "mark_running", lambda run, message: done.append(message))
    return done


def see(one: Watch, *states: object) -> None:
    for state in states:
        one._heed(state)


def test_a_flow_that_is_taken_for_dead_says_that_it_lives(told: list[str]):
    see(Watch("run", None), Running(), Crashed())
    assert told == ["it was taken for dead, and lives"]


def test_a_flow_that_is_over_says_nothing_more(told: list[str]):
    one = Watch("run", None)
    one.over.set()
    see(one, Crashed(), Cancelling())
    assert told == []


def test_a_terminals_flow_carries_out_its_cancellation_itself(told: list[str]):
    one = Watch("run", None)
    see(one, Pending(), Running(), Cancelling())
    assert told == ["cancelled"] and one.is_cancelled


def test_a_workers_flow_leaves_that_to_its_worker_for_a_while(told: list[str], monkeypatch: pytest.MonkeyPatch):
    one = Watch("run", lambda: False)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    see(one, Cancelling(), Cancelling())
    now += watch._WORKER_SECONDS - 1
    see(one, Cancelling())
    assert told == []
    now += 1
    see(one, Cancelling())
    assert told == ["cancelled"]


def test_a_run_that_counts_as_cancelled_does_not_go_on(told: list[str]):
    see(Watch("run", lambda: False), Cancelled())
    assert told == ["cancelled"]


def test_a_worker_that_no_longer_listens_is_gone(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as worker:
        monkeypatch.setenv("PREFECT__CONTROL_PORT", str(worker.getsockname()[1]))
        assert not watch._look_for_worker(os.getppid())()
        assert watch._look_for_worker(os.getppid() + 1)()
    assert watch._look_for_worker(os.getppid())()


def test_a_flow_without_a_run_is_not_watched():
    with watch.watched(None) as one:
        assert not one.is_cancelled
    assert one.over.is_set()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A server that answers what the list says, and is there when the list is empty."""
    answers: list[bool] = []
    monkeypatch.setenv("PREFECT_API_URL", API)
    monkeypatch.setattr(server, "why_unusable", lambda api: None if not answers or answers.pop(0) else "away")
    monkeypatch.setattr(server, "_ASK_SECONDS", 0.0)
    return answers


class Stage:
    """A task that fails as often as it is told to."""

    name = "train"
    tags: frozenset[str] = frozenset()

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, store: object, settings: object, inputs: object) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "made"


def unreachable(url: str) -> httpx.ConnectError:
    return httpx.ConnectError("refused", request=httpx.Request("POST", url))


def slot_error(cause: Exception) -> Exception:
    error = ConcurrencySlotAcquisitionError("no slot")
    error.__cause__ = cause
    return error


def answered(status: int, url: str = f"{API}/v2/concurrency_limits") -> httpx.HTTPStatusError:
    request = httpx.Request("POST", url)
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "error",
    [
        slot_error(unreachable(f"{API}/v2/concurrency_limits")),
        unreachable(f"{API}/v2/concurrency_limits"),
        # A proxy answers for a server that is away, and a busy server for itself.
        slot_error(answered(502)),
        answered(502),
        answered(429),
    ],
)
def test_a_stage_waits_for_a_server_that_is_away(away: list[bool], error: Exception):
    away += [False, False]
    stage = Stage(error)
    assert through_prefect(stage, None, None, {}) == "made"
    assert stage.calls == 2 and away == []


@pytest.mark.parametrize(
    "error",
    [
        unreachable("https://teacher.example/v1/completions"),
        httpx.ConnectError("of no request"),
        slot_error(ValueError("no such limit")),
        slot_error(answered(404)),
        answered(422),
        answered(503, "https://teacher.example/v1/completions"),
        MemoryError(),
    ],
)
def test_any_other_failure_of_a_stage_is_its_own(away: list[bool], error: Exception):
    stage = Stage(error)
    with pytest.raises(type(error)):
        through_prefect(stage, None, None, {})
    assert stage.calls == 1


def test_a_server_that_is_there_and_fails_every_time_is_given_up(away: list[bool]):
    stage = Stage(*[answered(500) for _ in range(100)])
    with pytest.raises(httpx.HTTPStatusError):
        through_prefect(stage, None, None, {})
    assert stage.calls == 50


def test_the_server_is_not_waited_for_without_end(away: list[bool], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", -1.0)
    away += [False]
    assert not server.wait_until_back()
    assert server.wait_until_back()


def test_a_process_is_known_to_live_or_not():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert _lives(str(child.pid)) and _lives(str(os.getpid()))
    child.communicate(b"\n")
    assert not _lives(str(child.pid)) and not _lives("no number")
