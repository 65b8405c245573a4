"""The `distillation` section."""

from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from stillhouse.recipe.features import LowRankFeatures
from stillhouse.recipe.losses import Following, ForwardKl, Loss, Moves, Moving, Positive, Share, Taid
from stillhouse.recipe.settings import Settings


class OnPolicy(Settings):
    """Steps in which the student goes on with the texts itself, and learns from its teacher alone (GKD).

    There alpha counts as 1: to be told that what it wrote is right would teach a student nothing.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    """Of the steps, drawn from the seed and the step's number."""
    max_new_tokens: PositiveInt = 64
    """Longest continuation, in tokens; less where a row has no room for it."""
    temperature: PositiveFloat = 1.0
    """Of the draws; it does not move the loss's."""


class Distillation(Settings):
    """`(1 - alpha) * cross-entropy + alpha * T^2 * loss(teacher, student)`, over one pass or more of the data."""

    loss: Loss = ForwardKl()
    """How far the student is from the teacher. Stored tokens (`knowledge`) know forward KL alone."""
    alpha: Share = 0.5
    """Share of the teacher's distribution in the loss; the rest is the text itself. A number, or one that moves,
    by the step or by how far student and teacher agree; `{}` moves it from 0.9 to 0.1."""
    temperature: Positive = 2.0
    """Softens teacher and student in the teacher's term, which is scaled by its square. It may move as well."""
    features: LowRankFeatures | None = None
    """Left out, hidden states are not compared."""
    on_policy: OnPolicy | None = None
    """Left out, every step is trained on the text of the data."""
    steps: PositiveInt | None = None
    """Optimizer steps; one pass over the training rows when left out."""
    batch_rows: PositiveInt = 4
    """Packed rows in one forward pass."""
    accumulation: PositiveInt = 1
    """Forward passes in one optimizer step."""
    learning_rate: PositiveFloat = 3e-4
    """Peak, reached after the warm-up, then cosine to `final_learning_rate_share` of it."""
    final_learning_rate_share: float = Field(default=0.1, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    warmup_steps: NonNegativeInt = 10
    """Steps of linear warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled (AdamW), on matrices only."""
    max_gradient_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    validate_every: PositiveInt = 50
    """Steps between validations."""
    checkpoint_every: PositiveInt = 50
    """Steps between checkpoints, from which a killed run goes on."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if isinstance(self.alpha, Moves) and not (0 <= self.alpha.start <= 1 and 0 <= self.alpha.end <= 1):
            raise ValueError(f"alpha moves from {self.alpha.start} to {self.alpha.end}; it is a share, from 0 to 1")
        if isinstance(self.alpha, Following) and self.alpha.start == 0:
            raise ValueError(
                "alpha follows the agreement with the teacher and starts at 0, where the teacher is not asked and "
                "agreement is never known; start a little above it, at 0.01"
            )
        if isinstance(self.temperature, Moves) and min(self.temperature.start, self.temperature.end) <= 0:
            raise ValueError(
                f"temperature moves from {self.temperature.start} to {self.temperature.end}; it must stay above 0"
            )
        return self

    @model_validator(mode="after")
    def _moves_where_the_text_counts(self) -> Self:
        if self.on_policy is None or (self.on_policy.share < 1 and self._highest_alpha > 0):
            return self
        if self.on_policy.share == 1:
            why, way_out = (
                "on_policy.share is 1, so that every step has the student's own text",
                "on_policy a share below 1",
            )
        else:
            why, way_out = "alpha is 0, so that the teacher reads the student's own text alone", "alpha a value above 0"
        for name, value in (("alpha", self.alpha), ("temperature", self.temperature)):
            if isinstance(value, Following) or (name == "alpha" and isinstance(value, Moving)):
                raise ValueError(
                    f"{why}, where the teacher's share is whole and agreement is not counted, and {name} would not "
                    f"move; give it a number, or {way_out}"
                )
        if isinstance(self.loss, Taid):
            raise ValueError(
                f"{why}, whose loss does not say how the training goes, and TAID's t would be a straight line; give "
                f"{way_out}, or take another loss"
            )
        return self

    @model_validator(mode="after")
    def _shapes_a_term_that_is_there(self) -> Self:
        # A temperature of one number stands in every recipe, and a control changes alpha alone.
        if self.compares_distributions:
            return self
        nothing = "and alpha is 0, so that nothing is compared with what the teacher says; set alpha above 0, or"
        if not isinstance(self.loss, ForwardKl):
            raise ValueError(f"loss is {self.loss.kind}, {nothing} leave loss out")
        if isinstance(self.temperature, Moves):
            moves = f"from {self.temperature.start:g} to {self.temperature.end:g}"
            raise ValueError(f"temperature moves {moves}, {nothing} give it a number")
        return self

    @model_validator(mode="after")
    def _agreement_can_move_something(self) -> Self:
        check_agreement(self)
        return self

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher has a share in the loss at any step, be it by its hidden states."""
        return self.features is not None or self.compares_distributions

    @property
    def compares_distributions(self) -> bool:
        """Whether what the teacher says of the next token has a share in the loss at any step."""
        return self.on_policy is not None or self._highest_alpha > 0

    @property
    def _highest_alpha(self) -> float:
        return max(self.alpha.start, self.alpha.end) if isinstance(self.alpha, Moves) else self.alpha

    @property
    def follows_agreement(self) -> bool:
        """Whether a number moves with how far student and teacher agree, which must then be counted."""
        return isinstance(self.alpha, Following) or isinstance(self.temperature, Following)


def check_agreement(distillation: Distillation) -> None:
    """Refuse a number that follows the agreement of a training in which it would never move.

    Raises:
        ValueError: If the training ends before agreement is followed.
    """
    for name, value in (("alpha", distillation.alpha), ("temperature", distillation.temperature)):
        if not isinstance(value, Following):
            continue
        if distillation.steps is not None and distillation.steps <= value.smoothing_steps:
            raise ValueError(
                f"{name} follows the agreement with the teacher after {value.smoothing_steps} steps "
                f"({name}.smoothing_steps), and the training has {distillation.steps}, so that it would never move; "
                "give it more steps, or lower smoothing_steps"
            )
