"""The Prefect server that runs are shown on: whether there is one, and whether it answers."""

import os
import time
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import get_client
from prefect.logging import get_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed

from stillhouse import progress

_PATIENCE_SECONDS = 1800.0
"""How long finished work waits for its server before it gives up telling it."""
_ASK_SECONDS = 3.0

logger = get_logger("stillhouse")


def is_usable() -> bool:
    """Whether the environment or Prefect's profile names a server, and it answers; without one, none is started."""
    api = address()
    if api is None:
        return False
    if not answers(api):
        with progress.of_stage("server"):
            progress.step(f"no Prefect server answers at {api}: this goes on without one, unseen in a UI")
        return False
    return True


def address() -> str | None:
    """The server's API, as the environment or Prefect's profile names it."""
    return os.environ.get("PREFECT_API_URL") or get_current_settings().api.url


def answers(api: str) -> bool:
    """Whether a server answers there now."""
    try:
        return httpx.get(f"{api.rstrip('/')}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def wait_until_back() -> None:
    """Return when the server answers, or after half an hour; at once where none is configured."""
    api = address()
    ends = time.monotonic() + _PATIENCE_SECONDS
    told = False
    while api is not None and not answers(api) and time.monotonic() < ends:
        if not told:
            logger.warning("the run has ended, and waits for the server at %s to tell it so", api)
            told = True
        time.sleep(_ASK_SECONDS)


def is_cancelling(flow_run_id: str) -> bool:
    """Whether somebody asked for a flow run to be cancelled."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run_id)).state
    return state is not None and state.is_cancelling()


def mark_cancelled(flow_run_id: str, message: str) -> None:
    """Tell the server that a flow run's cancellation is carried out."""
    _set_state(flow_run_id, Cancelled(message=message))


def mark_crashed(flow_run_id: str, message: str) -> None:
    """Tell the server that a flow run is no more."""
    _set_state(flow_run_id, Crashed(message=message))


def _set_state(flow_run_id: str, state: State[Any]) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), state)
