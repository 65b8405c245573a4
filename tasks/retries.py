"""Which failures a second try can mend: those of a network, and of a server that is away or busy."""

from collections.abc import Iterator
from typing import Any

import httpx
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

_OF_NETWORK = (ConnectionError, TimeoutError, httpx.TransportError)
_OF_REQUESTS = ("ConnectionError", "Timeout", "ChunkedEncodingError")
"""What `requests` calls the same, by which huggingface_hub and datasets ask; its classes are none of the above."""
_OFFLINE = "OfflineModeIsEnabled"
"""What huggingface_hub raises where somebody has told it to ask nobody: a connection error that lasts."""
_BUSY = 429


def can_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again. A wrong input, a full disk, a lack of memory and all that nobody knows stay as they are."""
    # Not `state.result()`: where an event loop runs in this thread, that gives a coroutine.
    return any(map(_is_passing, _with_causes(state.data)))


def _with_causes(error: object) -> Iterator[BaseException]:
    """An error and those that it was raised for: a stage tells in words of its own that a hub did not answer."""
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__ or error.__context__


def _is_passing(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("requests.")}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status == _BUSY or status >= 500
    if type(error).__name__ == _OFFLINE:
        return False
    return isinstance(error, _OF_NETWORK) or not kinds.isdisjoint(_OF_REQUESTS)
