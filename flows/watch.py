"""What may end a flow from outside and would not be noticed: its worker's death, or a cancellation nobody carries out.

A worker carries out the cancellations of its own flows; a flow that a terminal started has no worker.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from flows import server

_LOOK_SECONDS = 1.0
"""How soon a flow notices that its worker is gone."""
_ASK_SECONDS = 10.0
"""How soon a flow without a worker notices that it was cancelled."""
_GRACE_SECONDS = 20.0
"""How long a flow may take to end by itself after it was told to."""


@contextmanager
def watched(flow_run_id: str | None) -> Iterator[None]:
    """Watch over the flow of this process while the block runs."""
    if flow_run_id is None:
        yield
        return
    over = threading.Event()
    look: Callable[[], str | None]
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        look, every = _worker_is_gone(os.getppid()), _LOOK_SECONDS
    else:
        look, every = _is_cancelled(flow_run_id), _ASK_SECONDS
    threading.Thread(target=_watch, args=(look, every, over, flow_run_id), name="watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(look: Callable[[], str | None], every: float, over: threading.Event, flow_run_id: str) -> None:
    while not over.wait(every):
        reason = look()
        if reason is not None:
            # Prefect's own handler reports the end; where it hangs, nothing is left to wait for. Children of this
            # process read a pipe whose other end it holds, and go with it.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_GRACE_SECONDS)
            with suppress(Exception):
                server.mark_crashed(flow_run_id, reason)
            os._exit(1)


def _worker_is_gone(worker: int) -> Callable[[], str | None]:
    return lambda: None if os.getppid() == worker else "the worker that ran this is gone; retry, and it goes on"


def _is_cancelled(flow_run_id: str) -> Callable[[], str | None]:
    def look() -> str | None:
        # A server that is away has cancelled nothing.
        with suppress(Exception):
            if server.is_cancelling(flow_run_id):
                server.mark_cancelled(flow_run_id, "cancelled; a new run goes on from what is finished")
                return "cancelled"
        return None

    return look
