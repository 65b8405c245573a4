"""Processes of this machine: who descends from whom, and who still lives."""

import time
from collections.abc import Iterable
from pathlib import Path


def lives(pid: int) -> bool:
    """Whether a process is there and not only waits to be buried."""
    return _status(pid) is not None


def descendants(pid: int) -> set[int]:
    """Every process below one."""
    parents = {int(path.name): found[1] for path in Path("/proc").glob("[0-9]*") if (found := _status(int(path.name)))}
    below: set[int] = set()
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = {child for child, its in parents.items() if its == parent} - below
        below |= children
        waiting.extend(children)
    return below


def mentioning(text: str) -> set[int]:
    """Every process whose environment or command line holds a text, as the folder that a test gave it."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        for part in ("environ", "cmdline"):
            try:
                if text.encode() in (path / part).read_bytes():
                    found.add(int(path.name))
            except OSError:
                continue
    return {pid for pid in found if lives(pid)}


def gone_after(pids: Iterable[int], seconds: float) -> float | None:
    """How long it takes until none of them lives; `None` if some still does after so many seconds."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if not any(map(lives, pids)):
            return time.monotonic() - started
        time.sleep(0.05)
    return None


def _status(pid: int) -> tuple[str, int] | None:
    """A living process's state and parent."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else (state, int(parent))
