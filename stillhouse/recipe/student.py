"""The `student` section: what the student starts from."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, WidthPruned
from stillhouse.recipe.settings import Settings


class TrainedTokenizer(Settings):
    """A byte-level BPE, learned from the recipe's training documents, with the teacher's special tokens and template.

    No byte is unknown to it, and the same documents give the same tokenizer.
    """

    kind: Literal["trained"] = "trained"
    vocabulary: int = Field(ge=300)
    """The most tokens that it has, those of the 256 bytes and the special ones among them."""


class Fresh(Settings):
    """A model with random weights, drawn with the recipe's seed.

    With the teacher's tokenizer its vocabulary has as many rows as the teacher's model, padding included: their
    distributions are compared place by place.
    """

    kind: Literal["fresh"] = "fresh"
    config: dict[str, Any] | str | None = None
    """Another architecture: a config of transformers with its `model_type`, written here or as the path of a
    config.json. Left out, it is the teacher's own, with the sizes below."""
    layers: PositiveInt | None = None
    """Layers; left out, the teacher's. This and the other sizes are for the teacher's own architecture."""
    hidden_size: PositiveInt | None = None
    """Channels of the residual stream."""
    feed_forward_size: PositiveInt | None = None
    """Channels of the feed-forward."""
    attention_heads: PositiveInt | None = None
    """Query heads; a head stays as wide as the teacher's."""
    key_value_heads: PositiveInt | None = None
    """Key/value heads, which divide the query heads."""
    tokenizer: Literal["teacher"] | TrainedTokenizer = "teacher"
    """`teacher`, or one that is trained on the recipe's documents, which takes a loss across tokenizers."""

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that are given, by their names here."""
        names = ("layers", "hidden_size", "feed_forward_size", "attention_heads", "key_value_heads")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _sizes_in_one_place(self) -> "Fresh":
        if self.config is not None and self.sizes:
            raise ValueError(f"{', '.join(self.sizes)} are given beside config; write them into config")
        if isinstance(self.config, dict) and not isinstance(self.config.get("model_type"), str):
            raise ValueError("config names no architecture; give it model_type, as `llama` or `gpt2`")
        return self


class ExistingModel(Settings):
    """A smaller model, with the teacher's tokenizer or one of its own."""

    kind: Literal["model"] = "model"
    source: str
    """A hub id, a local directory, a `.gguf` file or `package:NAME`, as for the teacher."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    trust_remote_code: bool = False
    """Run Python that comes with a hub model."""
    tokenizer: Literal["teacher", "own"] = "teacher"
    """`own`: its tokenizer is another than the teacher's, and stays; it takes a loss across tokenizers."""


Student = Annotated[
    DepthPruned | WidthPruned | DepthAndWidthPruned | LowRank | Fresh | ExistingModel, Field(discriminator="kind")
]


def has_own_tokenizer(student: Student) -> bool:
    """Whether the student's tokens are others than its teacher's."""
    return isinstance(student, Fresh | ExistingModel) and student.tokenizer != "teacher"
