"""A file or model that a recipe names, found and told apart by its content."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stillhouse.recipe.settings import Settings


class Source(Settings):
    """Something outside the store that a stage reads, named by what it holds."""

    kind: Literal["hub", "directory", "gguf", "file"]
    """`hub`: `location` is a repository id and `digest` its commit. The others lie on this machine."""
    digest: str
    """SHA-256 over the content that is read, or the commit of a hub repository."""
    location: str = Field(exclude=True)
    """An absolute path or a hub id; not part of the key."""
    name: str = Field(exclude=True)
    """The words of the recipe, for messages, cards and tables."""

    @property
    def path(self) -> Path:
        """Where a source of this machine lies."""
        return Path(self.location)
