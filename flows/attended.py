"""What every flow run has in common: it is watched while it works, and says how it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows import server
from flows.run_folder import RunFolder, summary
from flows.watch import Watch, watched
from stillhouse.child import ChildError
from stillhouse.errors import InputError
from stillhouse.failures import KEPT, advice
from tasks.show_progress import shown_in_ui
from tasks.show_run import show_run

Found = TypeVar("Found")


class Told(RuntimeError):
    """What went wrong in a flow's own words, which say what to do."""


@dataclass(frozen=True)
class Outcome:
    """How a flow ended, in a word, in a line, and as what its caller is given."""

    name: str
    message: str
    data: dict[str, Any]


def attended(work: Callable[[], Outcome]) -> Any:
    """Do a flow's work, and give the state it ends in: its message tells a person what came out, or what to do.

    Prefect gives the flow's caller the state's data, or raises its error.
    """
    watch: Watch | None = None
    try:
        with watched(flow_run.id) as watch:
            ended = _end_of(work)
            # The work is done: its state should reach the server even if that is away just now.
            server.wait_until_back()
            return ended
    except TerminationSignal:
        if watch is None or not watch.is_cancelled:
            raise
        return Cancelled(message=server.CANCELLED)


def _end_of(work: Callable[[], Outcome]) -> State[Any]:
    try:
        with shown_in_ui():
            outcome = work()
    except Exception as error:
        if not isinstance(error, InputError | Told):
            # Prefect has told of the task by now, in red and with a traceback: these words come last.
            get_run_logger().error(first_line(error), exc_info=True)
        return Failed(message=first_line(error), data=error)
    return Completed(name=outcome.name, message=outcome.message, data=outcome.data)


def checked(look: Callable[[], Found]) -> Found:
    """Do preflight as the first task of a flow, where a person sees it fail in seconds and reads why."""
    return _check(look, return_state=True).result()


@task(name="Check what is asked", task_run_name="Check what is asked", cache_policy=NO_CACHE, persist_result=False)
def _check(look: Callable[[], Found]) -> Any:
    try:
        return look()
    except InputError as error:
        # What a person reads first of a failed run; raised, these words would stand in the middle of tracebacks.
        get_run_logger().error(str(error))
        return Failed(message=str(error), data=error)


def outcome_of(folder: RunFolder) -> Outcome:
    """Show a run's results in the UI, and say how it ended."""
    # The report is worth waiting for: a server that is away just now would never show it.
    server.wait_until_back()
    show_run(folder.path)
    data = {"verdict": folder.verdict, "run": str(folder.path)}
    message = summary(folder.path).splitlines()[0]
    name = "Packaged" if folder.verdict == "passed" else "Blocked"
    return Outcome(name, f"{message}. Results in {folder.path}", data)


def first_line(error: Exception) -> str:
    """What happened and what to do, for a person who sees only this."""
    said = str(error) or type(error).__name__
    if isinstance(error, InputError | Told):
        return said
    advised = advice(error)
    if advised is not None:
        return advised
    # What a process of its own says goes on with its traceback.
    first = said.strip().splitlines()[0].partition("; it last said")[0].rstrip(".:")
    told = first if isinstance(error, ChildError) else f"{type(error).__name__}: {first}"
    return f"{told}. Mend this and retry: {KEPT}."
