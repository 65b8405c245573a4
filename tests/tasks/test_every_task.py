"""What holds for every task and flow: Prefect remembers nothing, and repeats only what a network may have broken."""

import asyncio
import errno
import importlib
import pkgutil
from typing import get_args, get_type_hints

import httpx
import pytest
import requests
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

import flows
import tasks
from stillhouse.errors import InputError, Unavailable
from tasks.retries import can_help

WRITES_DOWN = {"assemble_results"}
"""Stages that are told the device only to write it into the results."""
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


def uses_a_device(task: Task) -> bool:
    """Whether its settings say on which device, themselves or among what else decides numbers."""
    settings = get_type_hints(task.fn)["settings"]
    found = settings.model_fields.get("compute")
    # It may be left out, where a device is not always needed.
    kinds = () if found is None else get_args(found.annotation) or (found.annotation,)
    return "device" in settings.model_fields or any("device" in getattr(kind, "model_fields", ()) for kind in kinds)


def test_every_stage_that_may_use_an_accelerator_asks_for_one():
    stages = {name for name, task in TASKS.items() if "settings" in get_type_hints(task.fn)}
    on_a_device = {name for name in stages if uses_a_device(TASKS[name])} - WRITES_DOWN
    assert {"distill", "prune_layers", "measure_parity", "quantize_bnb", "evaluate_capability"} <= on_a_device
    assert [name for name in sorted(on_a_device) if "accelerator" not in TASKS[name].tags] == []


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


def http_error(status: int, kind: type = httpx.HTTPStatusError) -> Exception:
    request = httpx.Request("GET", "https://hub.example")
    response = httpx.Response(status, request=request)
    return kind("no", request=request, response=response)


def hub_error(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return HfHubHTTPError("no", response=response)


def in_words(cause: Exception) -> Exception:
    """What a stage makes of an error of its hub."""
    try:
        try:
            raise cause
        except OSError:
            raise InputError("cannot fetch it; check the network and try again") from None
    except InputError as error:
        return error


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (ConnectionResetError("the hub hung up"), True),
        (TimeoutError("the hub is slow"), True),
        (httpx.ReadTimeout("the hub is slow"), True),
        (requests.ConnectionError("the hub hung up"), True),
        (requests.ReadTimeout("the hub is slow"), True),
        (http_error(503), True),
        (http_error(429), True),
        (hub_error(502), True),
        (in_words(requests.ConnectionError("no route")), True),
        (in_words(hub_error(500)), True),
        (http_error(404), False),
        (hub_error(403), False),
        (in_words(hub_error(404)), False),
        (in_words(FileNotFoundError(2, "no such file")), False),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE is set"), False),
        (requests.exceptions.InvalidURL("what is that"), False),
        (RuntimeError("who knows"), False),
        (PermissionError(13, "not yours"), False),
        (InputError("no such model"), False),
        (Unavailable("not on this machine"), False),
        (MemoryError(), False),
        (OutOfMemoryError("CUDA out of memory"), False),
        (OSError(errno.ENOSPC, "no space left"), False),
    ],
)
def test_a_second_try_is_for_what_it_can_mend(error: Exception, helps: bool):
    assert can_help(None, None, Failed(data=error)) is helps


def test_it_is_known_beside_an_event_loop_too():
    async def ask() -> bool:
        return can_help(None, None, Failed(data=TimeoutError("slow")))

    assert asyncio.run(ask()) is True
