"""Whether a training was steady: gradients that jump tell of a rate at the edge of what the student can take."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

JUMP = 5.0
"""Times the median of the steps before."""
STEPS_BEFORE = 20
"""Steps that a norm is compared with, which follow what a training's start and moving coefficients do to norms."""
_FEWEST_BEFORE = 5
UNSTEADY_SHARE = 0.05
"""Of the steps. Of 25 trainings of a 135M model's half at one rate two had more, and ended 0.04 and 0.11 nats behind
what other seeds of theirs did (docs/distillation.md)."""


@dataclass(frozen=True)
class Jumps:
    """The steps of a training at which the gradient jumped."""

    steps: int
    """Of the training."""
    count: int
    largest: float
    """Norm, before it was scaled down."""
    largest_step: int
    usual: float
    """Median norm of the whole training."""

    @property
    def is_unsteady(self) -> bool:
        """Whether they are more than a training has by chance."""
        return self.count > UNSTEADY_SHARE * self.steps

    @property
    def told(self) -> str:
        """What was seen, as the subject of a sentence goes on."""
        return (
            f"jumped at {self.count} of {self.steps} steps to more than {JUMP:g} times the norm of the "
            f"{STEPS_BEFORE} before, at most to {self.largest:.3g} at step {self.largest_step} where {self.usual:.2g} "
            "is usual"
        )


def jumps(norms: Sequence[float]) -> Jumps:
    """Find the jumps of a training's gradient norms, as they were before `max_gradient_norm`.

    Args:
        norms: Of every step, in their order.
    """
    found = [
        number
        for number in range(_FEWEST_BEFORE, len(norms))
        if norms[number] > JUMP * median(norms[max(0, number - STEPS_BEFORE) : number]) > 0
    ]
    largest = max(found, key=lambda number: norms[number], default=None)
    usual = median(norms) if norms else 0.0
    if largest is None:
        return Jumps(len(norms), 0, max(norms, default=0.0), 0, usual)
    return Jumps(len(norms), len(found), norms[largest], largest + 1, usual)
