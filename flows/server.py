"""The Prefect server that runs are shown on: whether there is one, and whether it answers."""

import os
import time
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.logging import get_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed, Running

from stillhouse import progress

_PATIENCE_SECONDS = 1800.0
"""How long work waits for its server."""
_ASK_SECONDS = 3.0
CANCELLED = "Cancelled; retry, or a new run, goes on from what is finished"
"""What a cancelled run says."""

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


def was_away(error: ConcurrencySlotAcquisitionError | httpx.TransportError) -> bool:
    """Whether an error says that the server could not be reached: a stage may have a network of its own."""
    if isinstance(error, ConcurrencySlotAcquisitionError):
        return isinstance(error.__cause__, httpx.TransportError)
    api = address()
    try:
        return api is not None and str(error.request.url).startswith(api)
    except RuntimeError:
        # It does not know what was asked.
        return False


def is_there() -> bool:
    """Whether the configured server answers; true where none is configured."""
    api = address()
    return api is None or answers(api)


def wait_until_back() -> bool:
    """Return true when the server answers, at once where none is configured; false after half an hour without it."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    told = False
    while not is_there():
        if time.monotonic() > ends:
            return False
        if not told:
            logger.warning("waits for the server at %s, up to half an hour; what is done is kept", address())
            told = True
        time.sleep(_ASK_SECONDS)
    return True


def state_of(flow_run_id: str) -> State | None:
    """What the server says of a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run_id)).state


def mark_cancelled(flow_run_id: str) -> None:
    """Tell the server that a flow run's cancellation is carried out."""
    _set_state(flow_run_id, Cancelled(message=CANCELLED))


def mark_crashed(flow_run_id: str, message: str) -> None:
    """Tell the server that a flow run is no more."""
    _set_state(flow_run_id, Crashed(message=message))


def mark_running(flow_run_id: str, message: str) -> None:
    """Tell the server that a flow run lives, whatever it thinks."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Running(message=message), force=True)


def _set_state(flow_run_id: str, state: State[Any]) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), state)
