"""Two things that a flow's process must see to itself, as nobody else can.

That it ends when it should: when its worker is gone, which nobody would notice, or when somebody cancels it and no
worker carries that out, as a flow that a terminal started has none. And that nobody takes it for dead while it lives:
a server that was away heard no heartbeats, and calls its run crashed when it is back.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from prefect.client.schemas.objects import State, StateType

from flows import server

_LOOK_SECONDS = 1.0
"""How soon a flow notices that its worker is gone."""
_ASK_SECONDS = 10.0
"""How soon a flow learns what the server thinks of it."""
_WORKER_SECONDS = 45.0
"""How long a worker may take to carry out a cancellation; longer than the 30 seconds it grants a flow."""
_GRACE_SECONDS = 20.0
"""How long a flow may take to end by itself after it was told to."""
_GONE = "the worker that ran this is gone; retry, and it goes on from what is finished"


@dataclass
class Watch:
    """A watch over the flow of this process."""

    flow_run_id: str
    worker_is_gone: Callable[[], bool] | None
    """`None` where a terminal started the flow."""
    is_cancelled: bool = False
    """Whether this watch ended the flow because somebody cancelled it."""
    over: threading.Event = field(default_factory=threading.Event)
    _cancelling_since: float | None = None

    def keep(self) -> None:
        """Look and ask until the flow is over."""
        asked_at = time.monotonic()
        while not self.over.wait(_LOOK_SECONDS):
            if self.worker_is_gone is not None and self.worker_is_gone():
                self._end(_GONE)
            elif time.monotonic() - asked_at >= _ASK_SECONDS:
                asked_at = time.monotonic()
                # A server that is away thinks nothing.
                with suppress(Exception):
                    self._heed(server.state_of(self.flow_run_id))

    def _heed(self, state: State | None) -> None:
        """Do what the server's view of this run asks for."""
        if state is None or self.over.is_set():
            return
        if state.type is not StateType.CANCELLING:
            self._cancelling_since = None
        match state.type:
            case StateType.CANCELLED:
                self._cancel()
            case StateType.CANCELLING:
                since = self._cancelling_since = self._cancelling_since or time.monotonic()
                if self.worker_is_gone is None or time.monotonic() - since >= _WORKER_SECONDS:
                    self._cancel()
            case StateType.CRASHED:
                server.mark_running(self.flow_run_id, "it was taken for dead, and lives")

    def _cancel(self) -> None:
        self.is_cancelled = True
        self._end(None)

    def _end(self, crashed_because: str | None) -> None:
        """Stop the flow as Prefect stops one, so that its end is reported; where that hangs, end the process."""
        os.kill(os.getpid(), signal.SIGTERM)
        stopped = self.over.wait(_GRACE_SECONDS)
        if stopped and self.worker_is_gone is None:
            # Who called the flow may have more to do.
            return
        if stopped:
            time.sleep(_GRACE_SECONDS)
        else:
            with suppress(Exception):
                if crashed_because is None:
                    server.mark_cancelled(self.flow_run_id)
                else:
                    server.mark_crashed(self.flow_run_id, crashed_because)
        # Children of this process read a pipe whose other end it holds, and go with it.
        os._exit(1)


@contextmanager
def watched(flow_run_id: str | None) -> Iterator[Watch]:
    """Watch over the flow of this process while the block runs."""
    by_worker = "PREFECT__FLOW_RUN_ID" in os.environ
    watch = Watch(flow_run_id or "", _look_for_worker(os.getppid()) if by_worker else None)
    if flow_run_id is not None:
        threading.Thread(target=watch.keep, name="watch", daemon=True).start()
    try:
        yield watch
    finally:
        watch.over.set()


def _look_for_worker(parent: int) -> Callable[[], bool]:
    """Tell by this process's parent, which changes; or once, if the worker was gone before that could be seen."""
    gone_before = not _listens(os.environ.get("PREFECT__CONTROL_PORT"))
    return lambda: gone_before or os.getppid() != parent


def _listens(port: str | None) -> bool:
    """Whether the worker listens where it told its flow to call; true where it told nothing."""
    if port is None:
        return True
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
    except OSError:
        return False
    return True
