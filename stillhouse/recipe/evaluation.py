"""The `evaluation` section."""

from pydantic import Field, PositiveInt

from stillhouse.recipe.settings import Settings


class Evaluation(Settings):
    """What is measured of teacher, pruned start and student."""

    benchmarks: tuple[str, ...] = ("arc_easy", "piqa")
    """Names of files in `evaluation/benchmarks/`, scored by lm-eval."""
    documents: int = Field(default=100, ge=2)
    """Documents of each benchmark: the first of its file, the same for every model."""
    batch_size: PositiveInt = 16
    """Requests scored side by side."""
    parity_tokens: PositiveInt = 3072
    """Held-out tokens on which each variant is compared with `torch-fp32`."""
    greedy_tokens: PositiveInt = 32
    """Length of the greedy continuation that is compared."""
