"""This machine: what it is, how much memory a process took, and who may keep it busy."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stillhouse import progress
from stillhouse.store import lock

LOCK_FOLDER = "STILLHOUSE_LOCK_FOLDER"
"""Environment variable that names the folder of the lock that keeps measurements alone."""
_STATUS = Path("/proc/self/status")


@dataclass
class Use:
    """One stage's use of this machine."""

    descriptor: int
    """Of the file whose lock it holds."""
    waited_seconds: float = 0.0
    """Time in which it waited for others rather than worked."""
    child_peak_memory_bytes: int = 0
    """Highest peak of the processes that worked for it."""


_use: ContextVar[Use | None] = ContextVar("use", default=None)


@cache
def processor() -> str:
    """Model of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    # Virtual machines often hide the product's name; family, model and stepping still tell generations apart.
    family = "/".join(named.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return f"{named.get('model name', platform.machine())} ({family})"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def hardware() -> dict[str, Any]:
    """What a manifest records of the machine."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def peak_memory_bytes() -> int:
    """Highest resident memory of this process since it started or since `forget_peak_memory`.

    VmHWM rather than `ru_maxrss`, which a child inherits from its parent across fork and exec.
    """
    if not _STATUS.exists():
        import resource

        scale = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    line = next(line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak_memory() -> None:
    """Start `peak_memory_bytes` anew, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


@contextmanager
def in_use() -> Iterator[Use]:
    """Work beside others, but never beside a measurement of speed on this machine."""
    with lock.locked(_lock_file(), shared=True, on_wait=_tell) as descriptor:
        use = Use(descriptor)
        token = _use.set(use)
        try:
            yield use
        finally:
            _use.reset(token)


@contextmanager
def measuring_alone() -> Iterator[None]:
    """Measure while no other run of Stillhouse works on this machine."""
    held = _use.get()
    if held is None:
        with lock.locked(_lock_file(), on_wait=_tell):
            yield
        return
    started = time.monotonic()
    lock.acquire(held.descriptor, shared=False, on_wait=_tell)
    held.waited_seconds += time.monotonic() - started
    try:
        yield
    finally:
        lock.acquire(held.descriptor, shared=True)


def note_child_memory(peak_bytes: int) -> None:
    """Count the peak memory of a process that worked for the current stage."""
    use = _use.get()
    if use is not None:
        use.child_peak_memory_bytes = max(use.child_peak_memory_bytes, peak_bytes)


def _lock_file() -> Path:
    """Whose lock a measurement holds alone: one file for all that works on this machine.

    Containers have temporary folders of their own, so they are told of a folder of their machine that they share.
    """
    folder = os.environ.get(LOCK_FOLDER) or tempfile.gettempdir()
    return Path(folder) / f"stillhouse-{os.getuid()}.lock"


def _tell() -> None:
    progress.step("waits until this machine is free: a measurement of speed runs alone")
