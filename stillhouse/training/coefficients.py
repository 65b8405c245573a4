"""The numbers of the loss that may move: which they are at a step, and what of them a checkpoint must hold."""

from dataclasses import dataclass
from typing import Any

from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.losses import Moving, Taid
from stillhouse.training.schedules import TaidSchedule, TaidState, advance, scheduled


@dataclass(frozen=True)
class Coefficients:
    """The numbers in the loss at one optimizer step."""

    alpha: float
    """The teacher's share."""
    temperature: float
    """Of the teacher's term."""
    taid_t: float | None = None
    """The teacher's share of TAID's target; `None` for every other loss."""

    def logged(self) -> dict[str, float]:
        """What is written down of every step."""
        said = {"alpha": self.alpha, "temperature": self.temperature}
        return said if self.taid_t is None else said | {"taid_t": self.taid_t}


class Course:
    """Gives the coefficients of each step. Only TAID's t has a memory; everything else is a function of the step."""

    def __init__(self, distillation: Distillation, num_steps: int, state: dict[str, Any] | None = None):
        """Begin, or go on from the state that a checkpoint held."""
        self._distillation = distillation
        self._num_steps = num_steps
        self._schedule = _taid_schedule(distillation, num_steps)
        self._state = None
        if self._schedule is not None:
            self._state = self._schedule.first() if state is None else TaidState.from_dict(state)

    @property
    def state(self) -> dict[str, Any] | None:
        """For the checkpoint."""
        return None if self._state is None else self._state.to_dict()

    def at(self, step: int) -> Coefficients:
        """Those of the optimizer step about to be made, counted from 0."""
        asked = self._distillation
        t = None if self._state is None else self._state.t
        return Coefficients(self._value(asked.alpha, step), self._value(asked.temperature, step), t)

    def learn(self, teacher_loss: float) -> None:
        """Take in the teacher's loss of a whole step, over micro-batches and ranks; validation never comes here."""
        if self._schedule is not None and self._state is not None:
            self._state = advance(self._schedule, self._state, teacher_loss)

    def _value(self, asked: float | Moving, step: int) -> float:
        if isinstance(asked, Moving):
            return scheduled(asked.shape, asked.start, asked.end, step=step, num_steps=self._num_steps)
        return asked


def _taid_schedule(distillation: Distillation, num_steps: int) -> TaidSchedule | None:
    match distillation.loss:
        case Taid(start=start, end=end, rate_times_steps=rate, momentum=momentum):
            return TaidSchedule(num_steps, start, end, rate, momentum)
        case _:
            return None
