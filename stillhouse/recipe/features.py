"""The `distillation.features` section: a student that also learns its teacher's hidden states."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from stillhouse.recipe.settings import Settings


class LowRankFeatures(Settings):
    """Hidden states of the student, projected to the teacher's width through a few dimensions, are drawn to its own.

    The projections begin as the best low-rank linear map from student to teacher, learn with the student, and are not
    part of what ships. States are measured in the scale of the teacher's at the same token, so the loss has no unit.
    """

    rank: PositiveInt = 64
    """Dimensions that each projection passes through: at most the smaller of the two widths. With fewer, only the
    directions of the teacher's states that the student can predict best are learned."""
    layers: Literal["auto"] | Annotated[dict[NonNegativeInt, NonNegativeInt], Field(min_length=1)] = "auto"
    """Student layer to teacher layer, as transformers counts hidden states: 0 is the embedding, i the output of block
    i, and the last is taken after the final norm. `auto` takes every block of the student and the teacher's at the
    same share of the depth, `round(i * teacher's / student's)`, so last goes to last; the embedding is left out."""
    loss: Literal["mean_squared_error", "l1_and_cosine"] = "mean_squared_error"
    """`mean_squared_error` is the share of the teacher's state that is missed; `l1_and_cosine` is Lillama's, less moved
    by a few large features, and 0.31 where nothing is missed."""
    balance: Literal["fixed", "logit_loss"] = "fixed"
    """`fixed`: the loss is added times `weight`. `logit_loss`: it is first scaled to the size of the loss of the
    logits, in every forward pass and without a gradient through the scale, as Megatron does: each micro-batch and each
    process then has a scale of its own, so that the gradient, not the value, depends on how a step is cut. In 40 steps
    under the tiny teacher that was the better one for a student of the teacher's own layers (KL 0.373, fixed 0.412,
    neither 0.431) and the worse one from random weights (2.81, fixed 2.22, neither 2.41)."""
    weight: PositiveFloat = 1.0
    """Of the loss of the features, beside the loss of the logits at 1."""
    fit_tokens: PositiveInt | None = None
    """Counted training tokens that the first projections are fitted on; 16 times the student's width when left out.
    With no more than a few times the width they fit the tokens rather than the two models."""
