"""What may move while a student is trained: alpha, the temperature, and TAID's t.

A step is an optimizer step, counted from 0. Plain schedules are functions of the step alone, so a resumed run needs
nothing from its checkpoint for them. TAID's t also follows the loss, and a number may follow how far student and
teacher agree; these have a state, which the checkpoint holds.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

Shape = Literal["constant", "linear", "cosine"]


def scheduled(shape: Shape, start: float, end: float, *, step: int, num_steps: int) -> float:
    """The value at a step: `start` at the first, `end` at the last, and what lies between by the shape.

    Args:
        shape: "constant" stays at `start`; "linear" moves evenly; "cosine" leaves and arrives slowly.
        start: Value of the first step.
        end: Value of the last step.
        step: The optimizer step about to be made, counted from 0.
        num_steps: Steps in all; of one step alone the value is `start`.
    """
    progress = min(step / max(num_steps - 1, 1), 1.0)
    match shape:
        case "constant":
            return start
        case "linear":
            return start + (end - start) * progress
        case "cosine":
            return start + (end - start) * 0.5 * (1 - math.cos(math.pi * progress))


@dataclass(frozen=True)
class TaidSchedule:
    """How TAID's t rises: faster where the loss falls, and never below a straight line (Shing et al., 2025)."""

    num_steps: int
    """Optimizer steps in all."""
    start: float = 0.4
    """The first t. From 0 the student would at first learn from itself, which is nothing."""
    end: float = 1.0
    """Where t stays once it is there; 1 is the teacher."""
    rate_times_steps: float = 7.8
    """The authors' rate of 0.0005 times the 15,600 steps of their runs. Their rate itself would leave any run of
    fewer than 4,000 steps on the straight line; this gives every length the curve that theirs had."""
    momentum: float = 0.99
    """Of the average of the loss's relative fall."""

    def first(self) -> "TaidState":
        """The state before the first step."""
        return TaidState(t=self.start)


@dataclass(frozen=True)
class TaidState:
    """What a checkpoint must hold to go on with the same t."""

    t: float
    """For the step about to be made."""
    steps: int = 0
    """Optimizer steps made."""
    average_fall: float = 0.0
    """Running average of the loss's relative fall from step to step."""
    previous: float | None = None
    """The loss of the step before; none before the first."""

    def to_dict(self) -> dict[str, float | int | None]:
        """For JSON, which keeps every bit of a float."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, float | int | None]) -> "TaidState":
        """What `to_dict` gave."""
        return cls(**values)  # type: ignore[arg-type]  # a dictionary that this class wrote


def advance(schedule: TaidSchedule, state: TaidState, loss: float | None) -> TaidState:
    """The state after an optimizer step, once a step and nowhere else: not a micro-batch, not a validation.

    Args:
        schedule: Where t starts and ends, and how fast it goes.
        state: Before the step.
        loss: TAID's divergence of the whole step, over all its micro-batches and ranks, so that every rank moves
            the same t. The authors take the cross-entropy, most of which is the target's entropy, which t moves too.
            `None` of a step that says nothing of it, which counts as one without a fall.
    """
    steps = state.steps + 1
    line = schedule.start + (schedule.end - schedule.start) * steps / schedule.num_steps
    loss = state.previous if loss is None else loss
    if state.previous is None or loss is None:
        return TaidState(min(schedule.end, max(line, state.t)), steps, 0.0, loss)
    # A divergence may rise manyfold from next to nothing; one such step must not hold t back for hundreds.
    fall = max((state.previous - loss) / state.previous, -1.0) if state.previous > 0 else 0.0
    average = schedule.momentum * state.average_fall + (1 - schedule.momentum) * fall
    rate = schedule.rate_times_steps / schedule.num_steps
    onward = state.t + rate / (1 + math.exp(-average)) * (1 - state.t)
    return TaidState(min(schedule.end, max(line, onward)), steps, average, loss)


@dataclass(frozen=True)
class AgreementState:
    """How far the student's agreement with its teacher has come; what a checkpoint must hold of it."""

    average: float = 0.0
    """Of the agreement: a mean over the first steps, then a running average."""
    began: float = 0.0
    """The mean of the first steps."""
    steps: int = 0
    """Steps in which agreement was seen."""
    progress: float = 0.0
    """From 0, where it began, to 1, where it is or has been enough; it never falls."""

    def to_dict(self) -> dict[str, float | int]:
        """For JSON, which keeps every bit of a float."""
        return asdict(self)


def follow(state: AgreementState, agreement: float, *, enough: float, smoothing_steps: int) -> AgreementState:
    """The state after an optimizer step in which student and teacher agreed so far.

    How long the run is does not matter: the same agreement moves a number as far in a short run as in a long one.

    Args:
        state: Before the step.
        agreement: Share of the whole step's counted tokens, over all its micro-batches and ranks.
        enough: The average at which progress is 1. Where it began there, or beyond, nothing is left to wait for.
        smoothing_steps: Steps of the first mean, and of the running average after it.
    """
    steps = state.steps + 1
    average = state.average + (agreement - state.average) / min(steps, smoothing_steps)
    if steps < smoothing_steps:
        return AgreementState(average, average, steps, 0.0)
    began = average if steps == smoothing_steps else state.began
    way = enough - began
    progress = (average - began) / way if way > 0 else 1.0
    return AgreementState(average, began, steps, max(state.progress, min(progress, 1.0)))
