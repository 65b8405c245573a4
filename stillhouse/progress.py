"""How far a stage is, told to whoever listens: a terminal, a log, a Prefect task.

Stages call `step`; they never know who reads it. Without a listener nothing happens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """One sign of life of a stage."""

    stage: str
    """Name of the stage."""
    note: str
    """What it is doing, in a few words."""
    done: int = 0
    """Units finished."""
    total: int = 0
    """Units in all; 0 where that is not known."""
    figures: dict[str, float] = field(default_factory=dict)
    """What a person watches, as `loss` or `tokens/s`."""


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_stage: ContextVar[str] = ContextVar("stage", default="")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every `step` inside the block to `listener`, and to whoever listened before."""
    before = _listener.get()

    def both(said: Progress) -> None:
        if before is not None:
            before(said)
        listener(said)

    token = _listener.set(both)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def unheard() -> Iterator[None]:
    """Tell nobody of any `step` inside the block."""
    token = _listener.set(None)
    try:
        yield
    finally:
        _listener.reset(token)


def is_heard() -> bool:
    """Whether anybody listens."""
    return _listener.get() is not None


@contextmanager
def of_stage(name: str) -> Iterator[None]:
    """Name the stage that the steps inside the block belong to."""
    token = _stage.set(name)
    try:
        yield
    finally:
        _stage.reset(token)


def step(note: str, done: int = 0, total: int = 0, figures: dict[str, float] | None = None) -> None:
    """Tell the listener, if there is one, how far the current stage is."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(stage=_stage.get(), note=note, done=done, total=total, figures=figures or {}))
