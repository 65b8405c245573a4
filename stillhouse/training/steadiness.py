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

    norms: Sequence[float]
    """Of every step, before `max_gradient_norm` scaled the gradient down."""
    at: tuple[int, ...]
    """Places in `norms`."""

    @property
    def are_many(self) -> bool:
        """Whether the training was not steady."""
        return len(self.at) > UNSTEADY_SHARE * len(self.norms)

    @property
    def told(self) -> str:
        """What was seen, as a sentence on the gradient goes on; there must be a jump."""
        largest = max(self.at, key=lambda place: self.norms[place])
        return (
            f"jumped at {len(self.at)} of {len(self.norms)} steps to more than {JUMP:g} times the norm of the "
            f"{STEPS_BEFORE} before, at most to {self.norms[largest]:.3g} at step {largest + 1} where "
            f"{median(self.norms):.2g} is usual"
        )


def jumps(norms: Sequence[float]) -> Jumps:
    """Find the jumps of a training.

    Args:
        norms: As `Jumps.norms`.
    """
    return Jumps(
        norms,
        tuple(
            place
            for place in range(_FEWEST_BEFORE, len(norms))
            # After steps of nothing, as of texts that all weigh 0, any step would be one.
            if norms[place] > JUMP * median(norms[max(0, place - STEPS_BEFORE) : place]) > 0
        ),
    )
