"""The `gates` section: limits on figures of `results.json`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stillhouse.recipe.settings import Settings


class Gate(Settings):
    """One limit. A gate on a variant keeps that variant out of the package; any other blocks the run."""

    figure: str
    """Path in `results.json`, as in `models.student.held_out_loss_nats_per_token`."""
    relative_to: Literal["teacher", "torch-fp32"] | None = None
    """Compare with the same figure of the teacher, or of the variant `torch-fp32`."""
    compare: Literal["difference", "ratio"] = "difference"
    """What `relative_to` compares: the figure less the other, or the figure over the other."""
    margin: Annotated[float, Field(gt=0)] | None = None
    """How much worse than `relative_to` the figure may be, the better way taken from the figure itself (a figure
    without one may lie as far off on either side). In the figure's unit, so 0.02 is 2 points of a share of right
    answers; with `compare: ratio`, as a share: 0.02 is 2%. Exactly one of this, `at_most` and `at_least`."""
    at_most: float | None = None
    """Upper limit."""
    at_least: float | None = None
    """Lower limit."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """One-sided: a figure beyond its limit passes by chance in at most one less this of all cases."""
    action: Literal["block", "warn"] = "block"
    """`warn` only tells."""

    @model_validator(mode="after")
    def _one_limit(self) -> "Gate":
        given = [name for name in ("margin", "at_most", "at_least") if getattr(self, name) is not None]
        if len(given) != 1:
            seen = " and ".join(given) or "none"
            raise ValueError(f"gate on {self.figure} needs exactly one of at_most, at_least and margin, got {seen}")
        if self.margin is not None and self.relative_to is None:
            raise ValueError(
                f"gate on {self.figure} has a margin and nothing that it is measured from; "
                "add relative_to: teacher (or torch-fp32), or set at_most or at_least"
            )
        if self.margin is not None and self.compare == "ratio" and self.margin >= 1:
            raise ValueError(f"gate on {self.figure} has a margin of {self.margin:g} as a ratio, allowed is below 1")
        return self
