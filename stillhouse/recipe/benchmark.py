"""The `benchmark` section."""

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from stillhouse.recipe.settings import Settings


class Benchmark(Settings):
    """How each variant's speed and memory are measured, in one fresh process each."""

    prompt_tokens: tuple[PositiveInt, ...] = Field(default=(32, 256, 1024), min_length=1)
    """Lengths of the prompts that are prefilled; the middle one gives the headline figures."""
    new_tokens: int = Field(default=8, ge=2)
    """Tokens decoded after each prompt, every one timed."""
    repeats: int = Field(default=20, ge=20)
    """Timed repeats of each prompt length inside the process."""
    warmup: PositiveInt = 2
    """Untimed repeats of each prompt length before them."""

    @field_validator("prompt_tokens", mode="before")
    @classmethod
    def _one_length(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @property
    def headline_prompt_tokens(self) -> int:
        """The middle length, the lower one of two: that of the figures that are quoted alone."""
        lengths = sorted(self.prompt_tokens)
        return lengths[(len(lengths) - 1) // 2]
