"""The numbers of the loss that may move: which they are at a step, and what of them a checkpoint must hold."""

import logging
from dataclasses import dataclass
from typing import Any

from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.losses import Following, Moving, Taid
from stillhouse.training.schedules import AgreementState, TaidSchedule, TaidState, advance, follow, scheduled

logger = logging.getLogger(__name__)


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
    """Gives the coefficients of each step.

    TAID's t and what follows the agreement have a memory; everything else is a function of the step.
    """

    def __init__(self, distillation: Distillation, num_steps: int, state: dict[str, Any] | None = None):
        """Begin, or go on from the state that a checkpoint held."""
        self._distillation = distillation
        self._num_steps = num_steps
        self._schedule = _taid_schedule(distillation, num_steps)
        self._state = None
        held = state or {}
        if self._schedule is not None:
            self._state = TaidState.from_dict(held["taid"]) if "taid" in held else self._schedule.first()
        self._followed = {
            name: AgreementState(**held.get(name, {}))
            for name in ("alpha", "temperature")
            if isinstance(getattr(distillation, name), Following)
        }
        for name in self._followed:
            first = getattr(distillation, name).smoothing_steps
            if num_steps <= first:
                logger.warning(
                    "%s follows the agreement with the teacher after %d steps, and this training has %d: it stays "
                    "where it starts; train longer, or lower distillation.%s.smoothing_steps",
                    name,
                    first,
                    num_steps,
                    name,
                )

    @property
    def state(self) -> dict[str, Any] | None:
        """For the checkpoint."""
        taid = {} if self._state is None else {"taid": self._state.to_dict()}
        return taid | {name: state.to_dict() for name, state in self._followed.items()} or None

    def at(self, step: int) -> Coefficients:
        """Those of the optimizer step about to be made, counted from 0."""
        asked = self._distillation
        t = None if self._state is None else self._state.t
        return Coefficients(
            self._value("alpha", asked.alpha, step), self._value("temperature", asked.temperature, step), t
        )

    def learn(self, teacher_loss: float | None, agreement: float | None = None) -> None:
        """Take in what was found in a whole step, over micro-batches and ranks; validation never comes here.

        Args:
            teacher_loss: The mean divergence from the teacher; `None` of a step on the student's own text, whose
                loss falls and rises for other reasons.
            agreement: Share of the counted tokens at which both find the same token likeliest; `None` where it was
                not counted, as the teacher was not asked.
        """
        if self._schedule is not None and self._state is not None:
            self._state = advance(self._schedule, self._state, teacher_loss)
        if agreement is None:
            return
        for name, state in self._followed.items():
            asked = getattr(self._distillation, name)
            told = {"enough": asked.enough, "smoothing_steps": asked.smoothing_steps}
            self._followed[name] = now = follow(state, agreement, **told)
            if now.steps == asked.smoothing_steps and now.began >= asked.enough:
                logger.warning(
                    "student and teacher agree at %.0f%% of the tokens from the beginning, and %s follows that until "
                    "it is %.0f%% (distillation.%s.enough): it is at its end at once; set enough higher",
                    100 * now.began,
                    name,
                    100 * asked.enough,
                    name,
                )

    def _value(self, name: str, asked: float | Moving | Following, step: int) -> float:
        match asked:
            case Moving(shape=shape, start=start, end=end):
                return scheduled(shape, start, end, step=step, num_steps=self._num_steps)
            case Following(start=start, end=end):
                return start + (end - start) * self._followed[name].progress
            case _:
                return asked


def _taid_schedule(distillation: Distillation, num_steps: int) -> TaidSchedule | None:
    match distillation.loss:
        case Taid(start=start, end=end, rate_times_steps=rate, momentum=momentum):
            return TaidSchedule(num_steps, start, end, rate, momentum)
        case _:
            return None
