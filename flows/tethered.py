"""A command of Prefect that ends with whoever started it, even if that was killed: `python -m flows.tethered COMMAND`.

It reads its standard input, whose other end its starter holds, as children do (`stillhouse/child.py`).
"""

import os
import signal
import threading
import time
from contextlib import suppress

_GRACE_SECONDS = 45.0
"""A worker grants its flows 30 seconds."""


def main() -> None:
    """Run `prefect` with this command's arguments."""
    # A worker that is told to end sends itself this signal, which a shell that starts us in the background has ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_starter, name="tether", daemon=True).start()
    from prefect.cli import app

    app()


def _end_with_starter() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
