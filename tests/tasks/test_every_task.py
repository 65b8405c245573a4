"""What holds for every task and flow: Prefect remembers nothing, and repeats only what a network may have broken."""

import errno
import importlib
import pkgutil

import pytest
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

import flows
import tasks
from stillhouse.errors import InputError, Unavailable
from tasks.retries import can_help

NETWORK_EDGES = {"load_teacher", "load_student", "gather_documents"}
"""Stages that may read from a model hub or a server across a network."""


def members(kind: type) -> dict[str, object]:
    """Every task, or every flow, of the project by its function's name."""
    found = {}
    for package in (flows, tasks):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            for one in vars(importlib.import_module(module.name)).values():
                if isinstance(one, kind):
                    found[one.fn.__name__] = one
    return found


TASKS, FLOWS = members(Task), members(Flow)


def test_there_are_as_many_as_there_are_files():
    assert len(TASKS) > 20 and {"compress", "evaluate", "export", "redistill", "sweep"} <= set(FLOWS)


@pytest.mark.parametrize("name", TASKS)
def test_prefect_neither_caches_nor_keeps_what_a_task_gives(name: str):
    """A result that it remembered would outlive the folder that it names; the store alone remembers."""
    task = TASKS[name]
    assert task.cache_policy is NO_CACHE and task.persist_result is False
    assert task.cache_key_fn is None and task.result_storage is None and task.cache_expiration is None


@pytest.mark.parametrize("name", FLOWS)
def test_prefect_does_not_keep_what_a_flow_gives_and_does_not_repeat_it(name: str):
    flow = FLOWS[name]
    assert flow.persist_result is False and flow.result_storage is None and not flow.retries


def test_only_what_reads_from_a_network_is_repeated():
    repeated = {name for name, task in TASKS.items() if task.retries}
    assert repeated == NETWORK_EDGES
    assert all(TASKS[name].retry_condition_fn is can_help for name in repeated)


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (ConnectionResetError("the hub hung up"), True),
        (TimeoutError("the hub is slow"), True),
        (RuntimeError("who knows"), True),
        (InputError("no such model"), False),
        (Unavailable("not on this machine"), False),
        (MemoryError(), False),
        (OutOfMemoryError("CUDA out of memory"), False),
        (OSError(errno.ENOSPC, "no space left"), False),
    ],
)
def test_a_second_try_is_for_what_it_can_mend(error: Exception, helps: bool):
    assert can_help(None, None, Failed(data=error)) is helps
