"""Progress on a terminal: a live line where there is one, plain lines where there is none."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stillhouse import progress
from stillhouse.progress import Listener, Progress

_PLAIN_SECONDS = 10.0
"""A log gets at most one line of a stage in this time, besides its start and its end."""


@contextmanager
def shown() -> Iterator[None]:
    """Show the progress of every stage inside the block on standard error."""
    if sys.stderr.isatty():
        with _live() as listener, progress.listening(listener):
            yield
    else:
        with progress.listening(PlainLines()):
            yield


class PlainLines:
    """One line at a stage's start and end, at whatever it begins to do, and now and then between."""

    def __init__(self) -> None:
        self._stage = ""
        self._notes: set[str] = set()
        self._started = self._said = time.monotonic()

    def __call__(self, step: Progress) -> None:
        """Print the step, unless the last line is too young."""
        now = time.monotonic()
        if step.stage != self._stage:
            self._stage, self._started, self._notes = step.stage, now, set()
        ends = step.total > 0 and step.done >= step.total
        if step.note not in self._notes or ends or now - self._said >= _PLAIN_SECONDS:
            self._said = now
            self._notes.add(step.note)
            print(f"{step.stage}: {describe(step, now - self._started)}", file=sys.stderr, flush=True)


def describe(step: Progress, seconds: float) -> str:
    """A step in words: note, how far, figures, time left at the pace so far."""
    parts = [step.note]
    if step.total > 1:
        parts.append(f"{step.done}/{step.total}")
    parts.extend(f"{name} {_short(value)}" for name, value in step.figures.items())
    if 0 < step.done < step.total and seconds > 1:
        parts.append(f"{_duration(seconds / step.done * (step.total - step.done))} left")
    return "  ".join(parts)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


@contextmanager
def _live() -> Iterator[Listener]:
    """A spinner and a line that changes; a line stays behind for each stage that ended."""
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True)
    stage, started = "", time.monotonic()
    with Status("starts", console=console) as status:

        def listen(step: Progress) -> None:
            nonlocal stage, started
            now = time.monotonic()
            if step.stage != stage:
                stage, started = step.stage, now
            line = describe(step, now - started)
            status.update(f"[bold]{step.stage}[/bold]  {line}")
            if step.note in ("done", "found in the store"):
                console.print(f"[green]✓[/green] [bold]{step.stage}[/bold]  {line}", highlight=False)

        yield listen
