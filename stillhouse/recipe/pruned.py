"""Students that are cut from their teacher: fewer layers, narrower ones, or both."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, WithJsonSchema, model_validator

from stillhouse.recipe.settings import Settings

_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}
_COUNT = r"[0-9]+(\.[0-9]+)?[kMB]"


def _counted(value: Any) -> Any:
    """An integer for words such as `67M` or `1.2B`; anything else as it is, for the schema to judge."""
    if isinstance(value, str) and re.fullmatch(_COUNT, value):
        return round(float(value[:-1]) * _FACTORS[value[-1]])
    return value


ParameterCount = Annotated[
    PositiveInt,
    BeforeValidator(_counted),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _COUNT}]}),
]
"""A number of parameters: 67000000, or in words `67M`; `k`, `M` and `B` are thousands, millions and billions."""
Ranking = Literal["drop_one", "greedy"]


class DepthPruned(Settings):
    """The teacher without the layers whose loss hurts least, as measured on training tokens."""

    kind: Literal["depth"] = "depth"
    layers: PositiveInt
    """How many of the teacher's layers stay."""
    ranking: Ranking = "greedy"
    """`drop_one`: each layer is left out of the whole teacher in turn. `greedy`: the layer that hurts least goes, what
    is left is measured again, and so on; as many measurements as there are layers in all the rounds. It takes minutes
    where the other takes seconds, and SmolLM2-135M at half of its size ended 0.13 to 0.30 nats lower over 3 seeds.
    Either chooses in fp32, whatever the run's precision: the layer that bf16 chose on one processor cost 0.10."""
    ranking_tokens: PositiveInt = 2048
    """Training tokens that each layer's removal is measured on."""


class Widths(Settings):
    """How narrow the student is: widths, or a number of parameters for which widths are found, or some of both."""

    hidden_size: PositiveInt | None = None
    """Channels of the residual stream that stay. A width that is given is taken as it is, never rounded; without a
    target one that is left out stays the teacher's. It must be a multiple of the query heads that stay; where it is not
    as wide as these together, all but optimum open the student's ONNX variants."""
    feed_forward_size: PositiveInt | None = None
    """Channels of the feed-forward that stay in every layer."""
    key_value_heads: PositiveInt | None = None
    """Key/value heads that stay in every layer, each with all query heads that share it."""
    parameters: ParameterCount | None = None
    """The most parameters that the student may have, as 67000000 or `67M`; what is not given is then found, so that
    everything shrinks by much the same factor. It is never exceeded, and where no width is given missed by
    less than one more step of feed-forward channels in every layer (64; fewer for a teacher narrower than 512)."""
    parameters_share: float | None = Field(default=None, gt=0, lt=1)
    """The same as a share of the teacher's parameters."""
    statistic: Literal["root_mean_square", "mean_absolute"] = "root_mean_square"
    """What is taken of an activation over tokens: its root mean square, or its mean size, which outliers move less."""
    statistics_tokens: PositiveInt = 8192
    """Training tokens that activations are measured on."""

    @property
    def has_target(self) -> bool:
        """Whether widths are to be found for a number of parameters."""
        return self.parameters is not None or self.parameters_share is not None

    @property
    def all_given(self) -> bool:
        """Whether no width is left to be found."""
        return None not in (self.hidden_size, self.feed_forward_size, self.key_value_heads)

    @model_validator(mode="after")
    def _check_request(self) -> "Widths":
        if self.parameters is not None and self.parameters_share is not None:
            raise ValueError("parameters and parameters_share both set the size; leave one out")
        widths = (self.hidden_size, self.feed_forward_size, self.key_value_heads)
        if not self.has_target and widths == (None, None, None):
            raise ValueError(
                "nothing is said to become narrower; give hidden_size, feed_forward_size, key_value_heads, parameters "
                "or parameters_share"
            )
        return self


class WidthPruned(Widths):
    """The teacher with fewer channels and heads: those stay whose activations on training tokens are largest."""

    kind: Literal["width"] = "width"

    @model_validator(mode="after")
    def _leave_something_to_find(self) -> "WidthPruned":
        if self.has_target and self.all_given:
            raise ValueError("every width is given, so nothing is left to be found for the number of parameters")
        return self


class DepthAndWidthPruned(Widths):
    """The teacher with fewer layers, and these narrower: layers go first, activations are those of what is left."""

    kind: Literal["depth_and_width"] = "depth_and_width"
    layers: PositiveInt | None = None
    """How many of the teacher's layers stay; left out, it is found for the number of parameters."""
    ranking: Ranking = "greedy"
    """How layers are ranked, as for `kind: depth`."""
    ranking_tokens: PositiveInt = 2048
    """Training tokens that each layer's removal is measured on."""

    @model_validator(mode="after")
    def _say_how_deep(self) -> "DepthAndWidthPruned":
        if self.layers is None and not self.has_target:
            raise ValueError("give layers, or parameters or parameters_share for which their number is found")
        if self.has_target and self.all_given and self.layers is not None:
            raise ValueError("layers and every width are given, so nothing is left to be found for the parameters")
        return self


Pruned = Annotated[DepthPruned | WidthPruned | DepthAndWidthPruned, Field(discriminator="kind")]
