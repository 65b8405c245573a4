"""The `distillation.loss` section: how far a student is from its teacher, and what of it moves during training."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, Tag, model_validator

from stillhouse.recipe.settings import Settings

LossKind = Literal[
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "skewed_forward_kl",
    "skewed_reverse_kl",
    "total_variation",
    "taid",
]


class Moving(Settings):
    """A number that moves from the first optimizer step to the last."""

    shape: Literal["linear", "cosine"] = "linear"
    """linear moves evenly; cosine leaves and arrives slowly."""
    start: float
    """At the first step."""
    end: float
    """At the last step."""


def _number_or_moving(value: Any) -> str:
    """Which of the two a recipe gives, so that a mistake is told of that one alone."""
    return "moving" if isinstance(value, dict | Moving) else "number"


Share = Annotated[
    Annotated[float, Field(ge=0, le=1), Tag("number")] | Annotated[Moving, Tag("moving")],
    Discriminator(_number_or_moving),
]
"""From 0 to 1, or moving within it."""
Positive = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Annotated[Moving, Tag("moving")], Discriminator(_number_or_moving)
]
"""Above 0, or moving above it."""


class ForwardKl(Settings):
    """KL(teacher || student): covers all that the teacher finds likely."""

    kind: Literal["forward_kl"] = "forward_kl"


class ReverseKl(Settings):
    """KL(student || teacher): keeps away from what the teacher finds unlikely."""

    kind: Literal["reverse_kl"] = "reverse_kl"


class JensenShannon(Settings):
    """`beta * KL(teacher || m) + (1 - beta) * KL(student || m)`, m the mixture with beta of the teacher."""

    kind: Literal["jensen_shannon"] = "jensen_shannon"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """The teacher's share of m. At 0 and at 1 the divergence is 0 everywhere, and teaches nothing."""


class SkewedForwardKl(Settings):
    """KL(teacher || skew * teacher + (1 - skew) * student): forward KL that stays bounded (DistiLLM)."""

    kind: Literal["skewed_forward_kl"] = "skewed_forward_kl"
    skew: float = Field(default=0.1, ge=0, lt=1)
    """Share of the teacher in what it is compared with."""


class SkewedReverseKl(Settings):
    """KL(student || skew * student + (1 - skew) * teacher): reverse KL that stays bounded (DistiLLM)."""

    kind: Literal["skewed_reverse_kl"] = "skewed_reverse_kl"
    skew: float = Field(default=0.1, ge=0, lt=1)
    """Share of the student in what it is compared with."""


class TotalVariation(Settings):
    """Half the sum of all differences of probability."""

    kind: Literal["total_variation"] = "total_variation"


class Taid(Settings):
    """Forward KL from a target that moves from the student to the teacher, faster while the loss falls (TAID, 2025)."""

    kind: Literal["taid"] = "taid"
    start: float = Field(default=0.4, ge=0, lt=1)
    """The teacher's share of the logits at the first step. From 0 the student at first learns from itself: nothing."""
    end: float = Field(default=1.0, gt=0, le=1)
    """Where the share stays once it is there."""
    rate_times_steps: PositiveFloat = 7.8
    """The authors' rate of 0.0005 times the 15,600 steps of their runs, so that a short run has their curve too."""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Of the average of the loss's relative fall."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the target moves towards the teacher, but start is {self.start} and end {self.end}")
        return self


Loss = Annotated[
    ForwardKl | ReverseKl | JensenShannon | SkewedForwardKl | SkewedReverseKl | TotalVariation | Taid,
    Field(discriminator="kind"),
]
