"""Locks that the operating system drops when their holder dies, however it dies."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, shared: bool = False, on_wait: Callable[[], None] | None = None) -> Iterator[int]:
    """Hold the lock on `path`, waiting for it if need be; gives the file descriptor.

    Args:
        path: The lock's file, made if absent and never removed (removing it would let two holders in).
        shared: Many may hold it together, but none beside an exclusive holder.
        on_wait: Called once if the lock is not free at once.
    """
    descriptor = _open(path)
    try:
        acquire(descriptor, shared=shared, on_wait=on_wait)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_now(path: Path) -> Iterator[bool]:
    """Try for the exclusive lock on `path` without waiting; gives whether it was free."""
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
    finally:
        os.close(descriptor)


def acquire(descriptor: int, *, shared: bool, on_wait: Callable[[], None] | None = None) -> None:
    """Take the lock of an open file, or turn the one held from shared to exclusive and back."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is not None:
            on_wait()
        fcntl.flock(descriptor, kind)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated: the file's content means nothing, and somebody may hold its lock.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
