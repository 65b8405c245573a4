"""The `distillation.loss` section: how far a student is from its teacher, and what of it moves during training."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

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


class Following(Settings):
    """A number that moves as the student comes to agree with its teacher, however many steps that takes.

    Agreement is the share of a step's counted tokens at which student and teacher find the same token likeliest. No
    temperature, kind of loss or t of TAID changes which token that is, so nothing that moves here moves what it is
    moved by. The number never goes back.
    """

    shape: Literal["agreement"]
    """agreement: from `start`, where agreement began, evenly to `end`, where it is `enough`."""
    start: float
    """Until agreement rises."""
    end: float
    """Once agreement has been `enough`."""
    enough: float = Field(gt=0, le=1)
    """The agreement, as a share of the tokens, at which `end` is reached. What a student can reach depends on the pair:
    look at `top_1_agreement` in the results of a short run."""
    smoothing_steps: PositiveInt = 10
    """Agreement began at the mean of the first so many steps, in which nothing moves; from there on it is a running
    average in which a step has one part in so many."""


_SOFT_AT_FIRST, _HARD_AT_LAST = 0.9, 0.1


class MovingShare(Moving):
    """A share that moves from the first optimizer step to the last: the teacher early, the text late.

    Without ends it goes from 0.9 to 0.1: its mean over the run is 0.5, what a constant alpha is by default, and neither
    the teacher nor the text is ever left out. For the reverse, give the ends the other way round.
    """

    start: float = _SOFT_AT_FIRST
    """At the first step."""
    end: float = _HARD_AT_LAST
    """At the last step."""


class FollowingShare(Following):
    """A share that moves as the student comes to agree with its teacher; without ends, from 0.9 to 0.1."""

    start: float = _SOFT_AT_FIRST
    """Until agreement rises. Above 0: a teacher without a share is not asked, and agreement would not be known."""
    end: float = _HARD_AT_LAST
    """Once agreement has been `enough`."""


Moves = Moving | Following
"""Whatever is not one number all the time."""


def _form(value: Any) -> str:
    """Which of the forms a recipe gives, so that a mistake is told of that one alone."""
    if isinstance(value, Following) or isinstance(value, dict) and value.get("shape") == "agreement":
        return "agreement"
    return "moving" if isinstance(value, dict | Moving) else "number"


Share = Annotated[
    Annotated[float, Field(ge=0, le=1), Tag("number")]
    | Annotated[MovingShare, Tag("moving")]
    | Annotated[FollowingShare, Tag("agreement")],
    Discriminator(_form),
]
"""From 0 to 1, or moving within it."""
Positive = Annotated[
    Annotated[PositiveFloat, Tag("number")] | Annotated[Moving, Tag("moving")] | Annotated[Following, Tag("agreement")],
    Discriminator(_form),
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


class UniversalLogitDistance(Settings):
    """Sum over ranks of |teacher's r-th largest probability - student's|: across two tokenizers (Boizard et al., 2025).

    Positions are compared where both have read the same text and neither is within a character. It says how sure to be
    and of how many tokens, not of which, so the text needs a share of the loss.
    """

    kind: Literal["universal_logit_distance"] = "universal_logit_distance"


Loss = Annotated[
    ForwardKl
    | ReverseKl
    | JensenShannon
    | SkewedForwardKl
    | SkewedReverseKl
    | TotalVariation
    | Taid
    | UniversalLogitDistance,
    Field(discriminator="kind"),
]
