"""The `low_rank` kind of student: the teacher, or what it was cut to, with linear layers of low rank."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from stillhouse.recipe.pruned import Pruned
from stillhouse.recipe.settings import Settings


class RanksByParameters(Settings):
    """As many dimensions as a number of parameters allows, each where it keeps most of a layer's output."""

    kind: Literal["parameters"] = "parameters"
    share: float = Field(default=0.8, gt=0, lt=1)
    """Parameters of the factors over those of the layers that they stand for, chosen layers together."""


class RanksByEnergy(Settings):
    """The fewest dimensions of each layer that keep a share of its output."""

    kind: Literal["energy"] = "energy"
    share: float = Field(default=0.95, gt=0, lt=1)
    """Of the squared size of the layer's output on training text, every token weighing the same."""


class LowRank(Settings):
    """The teacher whose chosen linear layers are products of two thin matrices, each trained to the teacher's output.

    What is saved is the product, in the teacher's own architecture: constrained, but not smaller than the teacher or
    what it was cut to. See `stillhouse.models.low_rank`.
    """

    kind: Literal["low_rank"] = "low_rank"
    cut: Pruned | None = None
    """Cut the teacher to this first. Each layer then learns what the teacher's layer at its place says, of the channels
    that are left; left out, width and depth stay the teacher's."""
    ranks: Annotated[RanksByParameters | RanksByEnergy, Field(discriminator="kind")] = RanksByParameters()
    """How many dimensions each layer keeps. A layer whose two factors would not be smaller than itself stays whole."""
    linears: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    """Last parts of the names of the linear layers, as `q_proj` and `down_proj`."""
    blocks: Literal["all"] | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = "all"
    """The student's blocks whose linear layers are replaced, counted from 0."""
    inputs: Literal["teacher", "student", "teacher+student"] = "teacher+student"
    """What a layer is shown: what the teacher's layer sees, what the student's own lower layers give it, or both by
    half. The answer to learn is in each case what the teacher's layer says."""
    train_tokens: PositiveInt = 32_768
    """Training tokens that factors are fitted to and trained on. With few they fit these tokens: from 4,096, layers of
    SmolLM2-135M gained nothing on other text from training after the SVD."""
    validation_tokens: PositiveInt = 4096
    """Validation tokens that each layer's loss is measured on. Where training did not lower it, the SVD stays."""
    steps: PositiveInt = 128
    """Optimizer steps for each layer."""
    batch_tokens: PositiveInt = 512
    """Token positions in a step."""
    learning_rate: PositiveFloat = 8.6e-5
    """Of Adam, constant; Lillama's."""
