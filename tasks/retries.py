"""Which failures a second try can mend."""

import errno
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from stillhouse.errors import InputError, Unavailable

_LASTING = (InputError, Unavailable, MemoryError)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def can_help(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a network may be back; a wrong input, a full disk or a lack of memory stay as they are."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, _LASTING) or (isinstance(error, OSError) and error.errno in _FULL):
        return False
    # torch's own class; this module does not import torch.
    return type(error).__name__ != "OutOfMemoryError"
