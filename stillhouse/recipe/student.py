"""The `student` section: what the student starts from."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from stillhouse.recipe.settings import Settings


class DepthPruned(Settings):
    """The teacher without the layers whose loss hurts least, as measured on training tokens."""

    kind: Literal["depth"] = "depth"
    layers: PositiveInt
    """How many of the teacher's layers stay."""
    ranking_tokens: PositiveInt = 2048
    """Training tokens that each layer's removal is measured on."""


class ExistingModel(Settings):
    """A smaller model with the teacher's tokenizer."""

    kind: Literal["model"] = "model"
    source: str
    """A hub id, a local directory, a `.gguf` file or `package:NAME`, as for the teacher."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    trust_remote_code: bool = False
    """Run Python that comes with a hub model."""


Student = Annotated[DepthPruned | ExistingModel, Field(discriminator="kind")]
