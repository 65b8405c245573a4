"""The `gates` section: limits on figures of `results.json`."""

from typing import Literal

from pydantic import model_validator

from stillhouse.recipe.settings import Settings


class Gate(Settings):
    """One limit. A gate on a variant keeps that variant out of the package; any other blocks the run."""

    figure: str
    """Path in `results.json`, as in `models.student.held_out_loss_nats_per_token`."""
    relative_to: Literal["teacher", "torch-fp32"] | None = None
    """Compare with the same figure of the teacher, or of the variant `torch-fp32`."""
    compare: Literal["difference", "ratio"] = "difference"
    """What `relative_to` compares: the figure less the other, or the figure over the other."""
    at_most: float | None = None
    """Upper limit; exactly one of this and `at_least`."""
    at_least: float | None = None
    """Lower limit."""
    action: Literal["block", "warn"] = "block"
    """`warn` only tells."""

    @model_validator(mode="after")
    def _one_limit(self) -> "Gate":
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"gate on {self.figure} needs exactly one of at_most and at_least")
        return self
