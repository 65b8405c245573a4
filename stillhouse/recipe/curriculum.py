"""The `curriculum` section: in which order the training texts come, and which are too doubtful to be learned from."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from stillhouse.recipe.settings import Settings

Difficulty = Literal["teacher_loss", "start_loss", "length"]
"""What makes a text hard."""


class Shuffled(Settings):
    """As without a curriculum: anew for every pass, by the seed."""

    kind: Literal["shuffled"] = "shuffled"


class Sorted(Settings):
    """Each pass takes the rows that it would take anyway, from easy to hard or the other way round."""

    kind: Literal["easy_first", "hard_first"] = "easy_first"


class GrowingPool(Settings):
    """Each step draws from the easiest share of the rows, which grows until it is all of them.

    Competence-based curriculum (Platanios et al., 2019, arXiv:1903.09848). Draws are by the seed and the step.
    """

    kind: Literal["growing_pool"] = "growing_pool"
    start_share: float = Field(default=0.1, gt=0, le=1)
    """The easiest share that the first step draws from; never fewer rows than a step takes."""
    full_at: float = Field(default=0.5, gt=0, le=1)
    """After this share of the steps every row may be drawn."""
    shape: Literal["root", "linear"] = "root"
    """`root`: as many new rows a step as keep the time that each is in the pool alike (the authors' choice), so that it
    grows fast and then slowly. `linear`: equally many each step."""


class LeaveOut(Settings):
    """Texts that the teacher itself is least sure of are not trained on. One of the two bounds."""

    measure: Literal["loss", "entropy"] = "loss"
    """`loss`: how badly it predicts the text, a mean over targets. `entropy`: how undecided it is, whatever came."""
    worst_share: float | None = Field(default=None, gt=0, lt=1)
    """So many of the training texts go, the worst."""
    above: PositiveFloat | None = None
    """Texts with more nats a target than this go."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.worst_share is None) == (self.above is None):
            seen = "neither" if self.above is None else "both"
            raise ValueError(f"give worst_share (0.1 is the worst tenth) or above (in nats), got {seen}")
        return self


class Curriculum(Settings):
    """An order of the training rows by difficulty, and a filter by the teacher's confidence; either, or both."""

    difficulty: Difficulty = "teacher_loss"
    """`teacher_loss`, `start_loss`: mean loss of whoever teaches, or of the student before it is trained, over a text's
    targets, which it reads once for this. `length`: tokens, which costs nothing."""
    order: Annotated[Shuffled | Sorted | GrowingPool, Field(discriminator="kind")] = Sorted()
    """When easy and hard texts come. Ordered rows hold texts of like difficulty."""
    leave_out: LeaveOut | None = None
    """Left out, all training texts are learned from."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if isinstance(self.order, Shuffled) and self.leave_out is None:
            raise ValueError(
                "order is shuffled and nothing is left out, which is a training without a curriculum; leave the "
                "section out, or take another order (easy_first, hard_first, growing_pool) or leave_out"
            )
        if isinstance(self.order, Shuffled) and self.difficulty != "teacher_loss":
            raise ValueError(
                f"difficulty is {self.difficulty}, by which rows are ordered, and order is shuffled; leave difficulty "
                "out (what is left out goes by leave_out.measure), or take another order"
            )
        return self

    @property
    def readers(self) -> tuple[Literal["teacher", "start"], ...]:
        """The models that must read the training texts before the training."""
        ordered = not isinstance(self.order, Shuffled)
        found: list[Literal["teacher", "start"]] = []
        if self.leave_out is not None or (ordered and self.difficulty == "teacher_loss"):
            found.append("teacher")
        if ordered and self.difficulty == "start_loss":
            found.append("start")
        return tuple(found)
