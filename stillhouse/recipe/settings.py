"""The base of every recipe section and of every stage's settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, and a misspelt key is an error.

    A field declared with `Field(exclude=True)` decides no byte of what is made: it says where something lies rather
    than what it is, or when a stage gives up. It stays out of the store's key, so a moved file is still the same file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
