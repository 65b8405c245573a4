"""Progress on a terminal: a live line where there is one, plain lines where there is none."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stillhouse import progress
from stillhouse.progress import Listener, Progress

_PLAIN_SECONDS = 10.0
"""A log gets at most one line of a stage in this time, besides its start and its end."""
_ENDS = ("done", "found in the store")
"""What the store says last of a stage; of one in another process, behind its name."""


@contextmanager
def shown() -> Iterator[None]:
    """Show the progress of every stage inside the block on standard error."""
    if sys.stderr.isatty():
        with _live() as listener, progress.listening(listener):
            yield
    else:
        with progress.listening(PlainLines()):
            yield


class Pace:
    """Since when, and from how many units on, the current stage has done each kind of work."""

    def __init__(self) -> None:
        self._stage = ""
        self._begun: dict[str, tuple[float, int]] = {}

    def since(self, step: Progress, now: float) -> tuple[bool, float, int]:
        """Whether this kind of work is new to the stage, its seconds so far, and the units it began with."""
        if step.stage != self._stage:
            self._stage, self._begun = step.stage, {}
        new = step.note not in self._begun
        # A resumed stage begins in the middle; what was done before says nothing of today's pace.
        begun, first = self._begun.setdefault(step.note, (now, step.done))
        return new, now - begun, first


class PlainLines:
    """One line at a stage's start and end, at whatever it begins to do, and now and then between."""

    def __init__(self) -> None:
        # Runs of a sweep work side by side, each as a stage of its own.
        self._paces: dict[str, Pace] = {}
        self._said: dict[str, float] = {}

    def __call__(self, step: Progress) -> None:
        """Print the step, unless the stage's last line is too young."""
        now = time.monotonic()
        new, seconds, first = self._paces.setdefault(step.stage, Pace()).since(step, now)
        ends = step.total > 0 and step.done >= step.total
        if step.note.endswith(_ENDS):
            # The next stage of this name is another one.
            del self._paces[step.stage]
        if new or ends or now - self._said.get(step.stage, now) >= _PLAIN_SECONDS:
            self._said[step.stage] = now
            print(f"{step.stage}: {describe(step, seconds, first)}", file=sys.stderr, flush=True)


def describe(step: Progress, seconds: float, first: int = 0) -> str:
    """A step in words: note, how far, figures, time left at the pace since `first` units were done."""
    parts = [step.note]
    if step.total > 1:
        parts.append(f"{step.done}/{step.total}")
    parts.extend(f"{name} {_short(value)}" for name, value in step.figures.items())
    if first < step.done < step.total and seconds > 1:
        parts.append(f"{_duration(seconds / (step.done - first) * (step.total - step.done))} left")
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
    pace = Pace()
    with Status("starts", console=console) as status:

        def listen(step: Progress) -> None:
            _, seconds, first = pace.since(step, time.monotonic())
            line = describe(step, seconds, first)
            status.update(f"[bold]{step.stage}[/bold]  {line}")
            if step.note.endswith(_ENDS):
                console.print(f"[green]✓[/green] [bold]{step.stage}[/bold]  {line}", highlight=False)

        yield listen
