"""The `benchmark` section."""

from pydantic import Field, PositiveInt

from stillhouse.recipe.settings import Settings


class Benchmark(Settings):
    """How each variant's speed and memory are measured, in one fresh process each."""

    prompt_tokens: PositiveInt = 128
    """Length of the prompt that is prefilled."""
    new_tokens: int = Field(default=32, ge=2)
    """Tokens decoded after it, each of them timed."""
    repeats: int = Field(default=7, ge=5)
    """Timed repeats inside the process."""
    warmup: PositiveInt = 2
    """Untimed repeats before them."""
