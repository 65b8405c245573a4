"""The section `data.selection`: which of the gathered documents are trained on, and how often."""

from typing import Self

from pydantic import Field, PositiveFloat, model_validator

from stillhouse.recipe.settings import Settings


class SimilarTo(Settings):
    """Of the other sets, only the documents that are most like one set's are kept."""

    set: str
    """Name of the set that stands for the domain or task, as results name it: `pubmed-abstracts`, or a file's stem."""
    share: float = Field(gt=0, le=1)
    """Of the other sets' training documents, how many are kept."""


class Selection(Settings):
    """Filters of the training documents, in the order in which they stand here; other splits stay as they are."""

    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Jaccard similarity of runs of five words from which on a training document is a copy of an earlier one, or of
    one that is held out or validated on, and is left out. Left out, only exact copies are."""
    similar_to: SimilarTo | None = None
    """Selection for a domain or task, without a model (DSIR: Xie et al., 2023)."""
    weights: dict[str, PositiveFloat] = {}
    """How often the documents of a set are seen, by its name: 2 is twice each, 0.5 is every other one. Sets that are
    not named have 1."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.near_duplicates is None and self.similar_to is None and not self.weights:
            raise ValueError(
                "selection asks for nothing; give near_duplicates, similar_to or weights, or leave the section out"
            )
        return self
