"""Progress of the stages in Prefect's UI: log lines, a bar for what takes long, and the loss curve of a training.

A stage may tell of a step a hundred times a second, and a run may take a day. All that the server is told lies in its
database, so it is told now and then: per task run a log line every ten seconds, one bar that changes every fifteen
seconds, one loss curve that changes every thirty.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogHandler

from evaluation.report.pictures import data_uri
from evaluation.report.stage_words import STAGES
from evaluation.report.training_curve import TrainingCurve
from stillhouse import progress
from stillhouse.progress import Progress
from stillhouse.terminal import Pace, describe
from tasks.artifacts import Board, Run, current_run, key_of

logger = logging.getLogger(__name__)

_LINE_SECONDS = 10.0
_BAR_SECONDS = 15.0
"""Also how long a stage works before it has a bar at all."""
_CURVE_SECONDS = 30.0
_FIRST_CURVE_SECONDS = 5.0
"""From the first step on: a training that hardly learns should be seen soon."""
_MOST_NEW_LINES = 30
"""A stage that names every file it reads begins something new all the time; from here on its lines keep the pace."""
_ENDS = ("done", "found in the store")

Say = Callable[[str], None]


_is_shown: ContextVar[bool] = ContextVar("is_shown", default=False)


@contextmanager
def shown_in_ui() -> Iterator[None]:
    """Show the progress of every stage inside the block, besides wherever it is shown already."""
    # A flow that is part of another flow: the outer one's listener finds the inner one's runs by itself.
    if _is_shown.get():
        yield
        return
    say = _say_to_server if progress.is_heard() else _say_in_log
    token = _is_shown.set(True)
    try:
        with progress.listening(ProgressInUi(Board(), say)):
            yield
    finally:
        _is_shown.reset(token)


def _say_in_log(text: str) -> None:
    get_run_logger().info(text)


def _say_to_server(text: str) -> None:
    """Where a terminal shows the steps already, the log that goes there too would say each one twice."""
    _server_log().info(text)


def _server_log() -> logging.Logger:
    log = logging.getLogger("stillhouse.progress")
    if not log.handlers:
        log.addHandler(APILogHandler())
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


@dataclass
class _Stage:
    """What is shown of one stage."""

    began: float
    pace: Pace = field(default_factory=Pace)
    said_at: float = float("-inf")
    new_lines: int = 0
    ended: set[str] = field(default_factory=set)
    """The kinds of work whose end has had its line."""
    bar: UUID | None = None
    bar_at: float = float("-inf")
    curve: UUID | None = None
    curve_at: float = float("-inf")
    losses: TrainingCurve = field(default_factory=TrainingCurve)
    first_loss_at: float | None = None
    untold_losses: bool = False


class ProgressInUi:
    """Listens to steps and shows them on the page of the run that takes them; without a run it does nothing."""

    def __init__(self, board: Board, say: Say, now: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._say = say
        self._now = now
        # Runs of a sweep work side by side, so each task run's stage is kept apart.
        self._stages: dict[tuple[Run, str], _Stage] = {}
        self._is_broken = False

    def __call__(self, step: Progress) -> None:
        """Show a step, as far as it is time to."""
        run = current_run()
        # What is no stage is a whole run in a process of its own, which shows its stages itself.
        if run is None or self._is_broken or (step.stage and step.stage not in STAGES):
            return
        try:
            self._show(run, step)
        except Exception:
            # A stage calls this in the middle of its work, which a picture that cannot be drawn must not end.
            self._is_broken = True
            logger.warning("The progress of this run is not shown any more", exc_info=True)

    def _show(self, run: Run, step: Progress) -> None:
        now = self._now()
        stage = self._stages.setdefault((run, step.stage), _Stage(now))
        new, seconds, first = stage.pace.since(step, now)
        said = _told(run, step, describe(step, seconds, first))
        self._line(stage, step, new, said)
        self._bar(run, stage, step, said)
        self._curve(run, stage, step, said)
        if step.note in _ENDS:
            del self._stages[run, step.stage]

    def _line(self, stage: _Stage, step: Progress, new: bool, said: str) -> None:
        ends = 0 < step.total <= step.done and step.note not in stage.ended
        if ends:
            stage.ended.add(step.note)
        stage.new_lines += new
        special = (new or ends) and stage.new_lines <= _MOST_NEW_LINES
        if special or step.note in _ENDS or self._now() - stage.said_at >= _LINE_SECONDS:
            stage.said_at = self._now()
            self._say(said)

    def _bar(self, run: Run, stage: _Stage, step: Progress, said: str) -> None:
        now = self._now()
        if step.note in _ENDS:
            if stage.bar is not None:
                self._board.change(stage.bar, ArtifactUpdate(data=100.0, description=said))
            return
        if step.total < 2 or now - stage.began < _BAR_SECONDS or now - stage.bar_at < _BAR_SECONDS:
            return
        stage.bar_at = now
        share = round(100 * min(1.0, step.done / step.total), 1)
        if stage.bar is not None:
            self._board.change(stage.bar, ArtifactUpdate(data=share, description=said))
            return
        # Without a key: it is found on the page of its run, and is no entry of the list of all artifacts.
        stage.bar = self._board.put(run, ArtifactCreate(type="progress", data=share, description=said))

    def _curve(self, run: Run, stage: _Stage, step: Progress, said: str) -> None:
        now = self._now()
        if _note_losses(stage.losses, step):
            stage.untold_losses = True
            stage.first_loss_at = now if stage.first_loss_at is None else stage.first_loss_at
        if stage.first_loss_at is None or not stage.untold_losses or not stage.losses.is_drawable:
            return
        due = now - stage.first_loss_at >= _FIRST_CURVE_SECONDS and now - stage.curve_at >= _CURVE_SECONDS
        if not (due or step.note in _ENDS) or not self._board.is_read:
            return
        stage.curve_at, stage.untold_losses = now, False
        page, told = _curve_page(stage.losses, step, said), stage.losses.told()
        told = f"{told[0].upper()}{told[1:]}."
        if stage.curve is not None:
            self._board.change(stage.curve, ArtifactUpdate(data=page, description=told))
        else:
            key = key_of(run.subject, "loss-curve")
            artifact = ArtifactCreate(key=key, type="markdown", data=page, description=told)
            stage.curve = self._board.put(run, artifact)


def _note_losses(losses: TrainingCurve, step: Progress) -> bool:
    """Take a training's losses from its step, and say whether it has one."""
    if "loss" in step.figures:
        losses.train(step.done, step.figures["loss"])
    elif "validation loss" in step.figures:
        losses.validate(step.done, step.figures["validation loss"])
    else:
        return False
    return True


def _curve_page(losses: TrainingCurve, step: Progress, said: str) -> str:
    """The losses in a picture, and how far the training is."""
    ends = "The training is over." if step.note in _ENDS else "It is drawn again every half minute."
    return (
        f"**{said}**\n\n"
        f"![{losses.told()}]({data_uri(losses.png())})\n\n"
        "Validation text is text that no step learns from: its loss says how well the student predicts. Training loss "
        f"is what each step minimises, of which the teacher has a share. {ends}\n"
    )


def _told(run: Run, step: Progress, said: str) -> str:
    """A step in a line that says whose it is, since a flow's log has the lines of all its tasks."""
    words = STAGES.get(step.stage, "")
    # The task run's name says the model or variant too.
    whose = run.name if words and run.name.startswith(words) else words
    return ": ".join(filter(None, (whose, said.replace("  ", ", "))))
