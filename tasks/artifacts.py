"""Artifacts on the page of the current run, written so that a server that is away neither stops nor slows the run."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

logger = logging.getLogger(__name__)

MOST_CHARACTERS = 450_000
"""Of one page. The server's database keeps it, and its UI reads it whole."""
_PATIENCE_SECONDS = 3.0
"""How long a call waits for the server while stages work."""
_AWAY_SECONDS = 60.0
"""How long a server that did not answer is left alone, the first time."""
_MOST_AWAY_SECONDS = 120.0
"""The same from the second time on: a server that is back is told of the work within two minutes."""

Found = TypeVar("Found")
Opens = Callable[[], AbstractContextManager[SyncPrefectClient]]


@dataclass(frozen=True)
class Run:
    """Whose page an artifact is on."""

    flow_run_id: UUID | None
    task_run_id: UUID | None
    name: str = ""
    """Of the task run."""
    subject: str = ""
    """What the flow works on, as its run's name says; most often a recipe."""


def current_run() -> Run | None:
    """The task run or flow run that this code works for; `None` outside of both."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None:
        return Run(task.task_run.flow_run_id, task.task_run.id, task.task_run.name, _subject(flow))
    if flow is not None and flow.flow_run is not None:
        return Run(flow.flow_run.id, None)
    return None


def _subject(flow: FlowRunContext | None) -> str:
    if flow is None or flow.flow_run is None or flow.flow is None:
        return ""
    return flow.flow_run.name.removeprefix(f"{flow.flow.name}-")


def key_of(*words: str) -> str:
    """The key of an artifact, for which Prefect takes small letters, digits and dashes."""
    return "-".join(filter(None, (re.sub("[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)))


@contextmanager
def one_try(patience_seconds: float = _PATIENCE_SECONDS) -> Iterator[SyncPrefectClient]:
    """A client that asks once; Prefect's own asks again for half a minute, in which a stage would stand still."""
    settings = {"timeout": patience_seconds}
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings=settings, sync_client=True) as client,
    ):
        yield client


class Board:
    """Puts artifacts up and changes them; tries a server that is away again after a while, and never raises."""

    def __init__(self, opens: Opens = one_try, now: Callable[[], float] = time.monotonic) -> None:
        self._opens = opens
        self._now = now
        self._failures = 0
        self._away_until = float("-inf")

    @property
    def is_read(self) -> bool:
        """Whether the server is tried at all just now; where it is left alone, there is no need to draw anything."""
        return self._now() >= self._away_until

    def put(self, run: Run, artifact: ArtifactCreate) -> UUID | None:
        """Put an artifact on a run's page and give its id; `None` if the server did not take it."""
        owned = artifact.model_copy(update={"flow_run_id": run.flow_run_id, "task_run_id": run.task_run_id})
        return self._guarded(lambda client: client.create_artifact(owned).id)

    def change(self, artifact_id: UUID, change: ArtifactUpdate) -> bool:
        """Change an artifact in place, and say whether the server took it."""
        # Not `update_artifact`: it sends all the data a second time, in an event that the server keeps for a week.
        content = change.model_dump(mode="json", exclude_unset=True)
        ids = {"id": artifact_id}
        sent = self._guarded(lambda client: client.request("PATCH", "/artifacts/{id}", json=content, path_params=ids))
        return sent is not None

    def _guarded(self, send: Callable[[SyncPrefectClient], Found]) -> Found | None:
        if not self.is_read:
            return None
        try:
            with self._opens() as client:
                answer = send(client)
        except Exception as error:
            # Whatever went wrong between here and the server: it is only a picture of the work, not the work.
            logger.debug("the Prefect server did not take an artifact: %r", error)
            self._away_until = self._now() + min(_MOST_AWAY_SECONDS, _AWAY_SECONDS * 2**self._failures)
            self._failures += 1
            return None
        self._failures = 0
        return answer
