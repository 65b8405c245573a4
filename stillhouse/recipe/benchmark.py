"""The `benchmark` section."""

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from stillhouse.recipe.settings import Settings


class Benchmark(Settings):
    """How each variant's speed and memory are measured, in fresh processes of its own."""

    prompt_tokens: tuple[PositiveInt, ...] = Field(default=(32, 256, 1024), min_length=1)
    """Lengths of the prompts that are prefilled; the middle one gives the headline figures."""
    new_tokens: int = Field(default=8, ge=2)
    """Tokens decoded after each prompt, every one timed."""
    repeats: int = Field(default=20, ge=20)
    """Timed repeats of each prompt length inside the process."""
    warmup: PositiveInt = 2
    """Untimed repeats of each prompt length before them."""
    batch_sizes: tuple[PositiveInt, ...] = (1,)
    """Prompts side by side; 1 must be among them, and each further size takes a process and its time."""
    starts: int = Field(default=3, ge=0)
    """Fresh processes that are timed from their start to the first token, so many with the model's files out of the
    file cache and so many with them in it; 0 for none, else at least 2."""
    noise_floor: bool = True
    """Whether `torch-fp32` is measured a second time, to learn what differences the machine alone makes."""
    teacher: bool = False
    """Whether the teacher is measured too, as if it were a variant."""

    @field_validator("prompt_tokens", mode="before")
    @classmethod
    def _one_length(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("batch_sizes", mode="before")
    @classmethod
    def _one_size(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("batch_sizes")
    @classmethod
    def _one_at_a_time_is_measured(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if 1 not in value:
            raise ValueError(
                f"batch_sizes is {', '.join(map(str, value)) or 'empty'}; 1 must be among them, whose figures every "
                "variant has: add 1"
            )
        return value

    @field_validator("starts")
    @classmethod
    def _one_start_has_no_spread(cls, value: int) -> int:
        if value == 1:
            raise ValueError("starts is 1, which says nothing of the spread; give 2 or more, or 0 for none")
        return value

    @property
    def headline_prompt_tokens(self) -> int:
        """The middle length, the lower one of two: that of the figures that are quoted alone."""
        lengths = sorted(self.prompt_tokens)
        return lengths[(len(lengths) - 1) // 2]
