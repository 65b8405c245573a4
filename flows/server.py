"""The Prefect server that runs are shown on: whether there is one, and whether it answers."""

import os
import time
from contextlib import suppress
from typing import Any, TypeGuard
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.logging import get_logger
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Cancelled, Crashed, Running

from stillhouse import progress

_PATIENCE_SECONDS = 1800.0
"""How long work waits for its server."""
_ASK_SECONDS = 3.0
_ANSWER_SECONDS = 5.0
"""How long a server may take to answer before it counts as away."""
_REFUSED = (401, 403)
_BUSY = 429
"""Status of an answer that says to ask later."""
CANCELLED = "Cancelled; retry, or a new run, goes on from what is finished"
"""What a cancelled run says."""

logger = get_logger("stillhouse")


def is_usable() -> bool:
    """Whether the environment or Prefect's profile names a server, and it answers; without one, none is started."""
    api = address()
    if api is None:
        return False
    reason = why_unusable(api)
    if reason is not None:
        with progress.of_stage("server"):
            progress.step(f"{reason}: this goes on without one, unseen in a UI")
    return reason is None


def address() -> str | None:
    """The server's API, as the environment or Prefect's profile names it."""
    return os.environ.get("PREFECT_API_URL") or get_current_settings().api.url


def why_unusable(api: str) -> str | None:
    """Why there is no working with a server now; `None` where it answers.

    It is asked as Prefect asks it, with the same certificates, headers and password, and for what needs them.
    """
    silent = f"no Prefect server answers at {api}"
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), _client(api) as client:
            client.api_version()
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _REFUSED:
            return f"the Prefect server at {api} refused: check PREFECT_API_AUTH_STRING"
        return f"{silent} ({error.response.status_code})"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError):
        # What is there may be something else, or speak TLS with a certificate that nobody here knows.
        return silent
    return None


def _client(api: str) -> SyncPrefectClient:
    """Prefect's own, for a server that may be another than the configured one."""
    return SyncPrefectClient(
        api,
        auth_string=PREFECT_API_AUTH_STRING.value(),
        api_key=PREFECT_API_KEY.value(),
        httpx_settings={"timeout": _ANSWER_SECONDS},
    )


def all_taken(limit: str) -> bool:
    """Whether nothing is free under a limit of the server just now; false where that cannot be told."""
    api = address()
    if api is None:
        return False
    with suppress(Exception), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), _client(api) as client:
        found = client.read_global_concurrency_limit_by_name(limit)
        return found.active and found.active_slots >= found.limit
    return False


def was_away(error: BaseException | None) -> bool:
    """Whether an error says that the server could not be reached: a stage may have a network of its own.

    What stands before a server answers in its stead while it is away, and one that is too busy says so.
    """
    if isinstance(error, ConcurrencySlotAcquisitionError):
        # Prefect asked nobody else.
        return _is_passing(error.__cause__)
    api = address()
    try:
        return _is_passing(error) and api is not None and str(error.request.url).startswith(api)
    except RuntimeError:
        # It does not know what was asked.
        return False


def _is_passing(error: BaseException | None) -> TypeGuard[httpx.TransportError | httpx.HTTPStatusError]:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == _BUSY or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def wait_until_back() -> bool:
    """Return true when the server answers, at once where none is configured; false after half an hour without it."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    told = False
    while (api := address()) is not None and (reason := why_unusable(api)) is not None:
        if time.monotonic() > ends:
            return False
        if not told:
            logger.warning("%s: waits for it, up to half an hour; what is done is kept", reason)
            told = True
        pause()
    return True


def pause() -> None:
    """Let a server be for a moment before it is asked again."""
    time.sleep(_ASK_SECONDS)


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
