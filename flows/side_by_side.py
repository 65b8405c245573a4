"""Works that go on at once, each in a process of its own: on one of Prefect's task runners, or without Prefect.

torch's seed and thread count belong to a process, so two trainings cannot share one. A pool of processes will not do:
one that runs out of memory, or crashes, breaks the pool and takes the others with it. So a work is a task run that
waits for a process of its own (`stillhouse/child.py`), which never outlives it, on whatever machine the runner puts it.
"""

import base64
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import cloudpickle
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import hydrated_context, serialize_context
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.task_runners import ThreadPoolTaskRunner

from stillhouse import child, progress
from stillhouse.errors import InputError
from tasks.show_progress import shown_in_ui

Runner = Literal["local", "dask"]
Ended = dict[str, Any] | Exception
"""What became of a work: what its function gave, or why there is nothing."""
_CONTEXT = "prefect_context"
_PATIENCE_SECONDS = 10.0
"""How long a process whose work is done waits for a server that is slow, or away."""


@dataclass(frozen=True)
class Places:
    """Where works go on."""

    runner: Runner
    workers: int
    """How many at once; of a cluster that exists, its own matter."""
    scheduler: str = ""
    """Address of a Dask cluster's scheduler; where it is empty, Dask's workers are processes of this machine."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            InputError: Naming what was seen, what is allowed and what to do.
        """
        if self.workers < 1:
            raise InputError(f"workers is {self.workers}; give 1 or more")
        if self.runner == "local" and self.scheduler:
            raise InputError(
                f"runner is local, but scheduler is {self.scheduler}; set runner to dask, or leave scheduler empty"
            )
        if self.runner == "dask" and find_spec("prefect_dask") is None:
            raise InputError(
                "runner is dask, but prefect-dask is not installed; run `pip install -c constraints.txt -e '.[dask]'`, "
                "or set runner to local"
            )

    @property
    def task_runner(self) -> Any:
        """Prefect's, not started yet."""
        if self.runner == "local":
            return ThreadPoolTaskRunner(max_workers=self.workers)
        # Read when Dask is imported, here and in its workers: each tells thirty lines of what it connects to.
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
        from prefect_dask.task_runners import DaskTaskRunner

        if self.scheduler:
            return DaskTaskRunner(address=self.scheduler)
        # No limit on memory: Dask would kill the worker, and with it what is being made; preflight has looked.
        local = {
            "n_workers": self.workers,
            "threads_per_worker": 1,
            "memory_limit": None,
            "dashboard_address": "127.0.0.1:0",
        }
        return DaskTaskRunner(cluster_kwargs=local)


@dataclass(frozen=True)
class Piece:
    """One work of several."""

    name: str
    """What a person calls it."""
    short: str
    """The same in small letters, digits and dashes."""
    payload: dict[str, Any]
    """What the function is given, as JSON values."""


Together = Callable[[Places, str, Sequence[Piece]], list[Ended]]
"""Runs `package.module:function` on every piece, as many at once as there are places; one that fails stops no other."""


def through_runner(places: Places, function: str, pieces: Sequence[Piece]) -> list[Ended]:
    """Run works as task runs of the current flow run."""
    with places.task_runner as runner:
        asked = [{"name": one.name, "short": one.short, "function": function, "payload": one.payload} for one in pieces]
        started = [runner.submit(in_own_process, parameters) for parameters in asked]
        with _none_left([one.wrapped_future for one in started]):
            return [_ended(one.result) for one in started]


def in_threads(places: Places, function: str, pieces: Sequence[Piece]) -> list[Ended]:
    """Run works without Prefect.

    Raises:
        InputError: If the places are a cluster's.
    """
    if places.runner == "dask":
        raise InputError(
            "runner dask needs a Prefect server, and none is configured; start one (`make ui`) and set "
            "PREFECT_API_URL, or set runner to local"
        )
    with ThreadPoolExecutor(places.workers) as pool:
        # A context for each: whoever listens here to the progress of stages listens in the threads too.
        started = [pool.submit(copy_context().run, _in_own_process, one.short, function, one.payload) for one in pieces]
        with _none_left(started):
            return [_ended(one.result) for one in started]


@task(name="Run beside others", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def in_own_process(name: str, short: str, function: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Run a piece as a task run, its stages as task runs of the same flow run."""
    context = base64.b64encode(cloudpickle.dumps(serialize_context())).decode("ascii")
    return _in_own_process(short, function, {**payload, _CONTEXT: context})


def _in_own_process(short: str, function: str, payload: dict[str, Any]) -> dict[str, Any]:
    with progress.of_stage(short):
        return child.run(function, payload)


@contextmanager
def of_task_run(payload: dict[str, Any]) -> Iterator[bool]:
    """In a piece's process: be part of the task run that waits for it; gives whether there is one."""
    if _CONTEXT not in payload:
        yield False
        return
    # As Prefect's own runners do it on other machines.
    with hydrated_context(cloudpickle.loads(base64.b64decode(payload[_CONTEXT]))), shown_in_ui():
        try:
            yield True
        finally:
            # Prefect tells its server in the background, and this process is over when its result is out.
            EventsWorker.drain_all(timeout=_PATIENCE_SECONDS)
            APILogWorker.drain_all(timeout=_PATIENCE_SECONDS)


def _ended(result: Callable[[], dict[str, Any]]) -> Ended:
    try:
        return result()
    except Exception as error:
        return error


@contextmanager
def _none_left(started: Sequence[Any]) -> Iterator[None]:
    """Let nothing go on when the block is left before its time: a runner would wait for its threads to the end."""
    try:
        yield
    except BaseException:
        for future in started:
            future.cancel()
        while not all(future.done() for future in started):
            child.end_all()
            time.sleep(0.05)
        raise
