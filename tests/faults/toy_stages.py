"""Stages that take seconds instead of hours: one works by itself, one in a process of its own, one trains.

The one that trains keeps a checkpoint in its work folder. Each tells in a journal when it begins and how it ends, so
that a test knows when to strike, what was done twice and what was not.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from stillhouse import child, progress
from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings

STEP_SECONDS = 0.2
TOO_LITTLE = "memory ran out on cpu: lower distillation.batch_rows from 2 to 1"


class ToySettings(Settings):
    """What the stages take."""

    seconds: float
    seed: str
    """Part of the key: two runs of one seed share their artifacts."""
    journal: str = Field(exclude=True)


def alone(settings: ToySettings, inputs: Any, folder: Path) -> None:
    """Work in this process, without any checkpoint."""
    with told(settings, "alone"):
        _steps(settings, 0)
        _fill(folder)


def in_child(settings: ToySettings, inputs: Any, folder: Path) -> None:
    """Work in a process of its own."""
    with told(settings, "in_child"):
        child.run("toy_stages:child_work", {"seconds": settings.seconds, "journal": settings.journal})
        _fill(folder)


def child_work(payload: dict[str, Any]) -> dict[str, Any]:
    """Be that process."""
    tell(payload["journal"], "child begins")
    count = _count(payload["seconds"])
    for number in range(count):
        time.sleep(STEP_SECONDS)
        progress.step("works in a child", number + 1, count)
    return {}


def train(settings: ToySettings, inputs: Any, folder: Path) -> None:
    """Train, with a checkpoint after every step."""
    checkpoint = folder / "work" / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    with told(settings, "train", first=first):
        checkpoint.parent.mkdir(exist_ok=True)
        _steps(settings, first, checkpoint)
        _fill(folder)


def trouble(settings: ToySettings, inputs: Any, folder: Path) -> None:
    """Fail in the way that the seed names."""
    with told(settings, "trouble"):
        match settings.seed:
            case "memory":
                # As a stage raises it; torch is imported only where it is needed.
                from stillhouse.training.loop import NoMemoryLeft

                raise NoMemoryLeft(TOO_LITTLE)
            case "memory of a child" | "killed child":
                child.run("toy_stages:fail_as_asked", {"seed": settings.seed})
            case "diverged":
                from stillhouse.training.step import TrainingDiverged

                raise TrainingDiverged("the loss is not a number at step 3")
            case "input":
                raise InputError("this cannot be; do something else")
            case "disk":
                (folder / "big").write_bytes(bytes(4_000_000))
            case "disk by hand":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "big")
            case "disk in a child" | "disk in a child by hand":
                child.run("toy_stages:fill_disk", {"folder": str(folder), "by_hand": settings.seed.endswith("by hand")})


def fill_disk(payload: dict[str, Any]) -> dict[str, Any]:
    """Be a process that writes more than there is room for."""
    if payload["by_hand"]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "big")
    (Path(payload["folder"]) / "big").write_bytes(bytes(4_000_000))
    return {}


def fail_as_asked(payload: dict[str, Any]) -> dict[str, Any]:
    """Be a process whose training fails."""
    if payload["seed"] == "killed child":
        os.kill(os.getpid(), signal.SIGKILL)
    raise MemoryError(TOO_LITTLE)


def _count(seconds: float) -> int:
    return max(1, round(seconds / STEP_SECONDS))


def _steps(settings: ToySettings, first: int, checkpoint: Path | None = None) -> None:
    count = _count(settings.seconds)
    for number in range(first, count):
        time.sleep(STEP_SECONDS)
        if checkpoint is not None:
            unfinished = checkpoint.with_suffix(".new")
            unfinished.write_text(str(number + 1))
            unfinished.replace(checkpoint)
        progress.step("works", number + 1, count)


def _fill(folder: Path) -> None:
    (folder / "result.txt").write_text("done\n")


@contextmanager
def told(settings: ToySettings, stage: str, **more: Any) -> Iterator[None]:
    """Tell when a stage begins and, if it does not fail, ends."""
    tell(settings.journal, f"{stage} begins", **more)
    yield
    tell(settings.journal, f"{stage} done")


def tell(journal: str, what: str, **more: Any) -> None:
    """Write a line of the journal."""
    line = {"what": what, "pid": os.getpid(), "at": time.time(), **more}
    with open(journal, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
