"""Which failures a second try can mend."""

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from stillhouse.errors import InputError


def can_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a network may be back, a wrong input stays wrong."""
    return not isinstance(state.result(raise_on_failure=False), InputError)
