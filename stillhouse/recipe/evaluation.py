"""The `evaluation` section."""

from typing import Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt

from stillhouse.recipe.settings import Settings

BehaviourSuite = Literal["stereoset", "typos", "generations"]


class Behaviour(Settings):
    """How the models behave, beside what they can do."""

    suites: tuple[BehaviourSuite, ...] = get_args(BehaviourSuite)
    """What is measured; an empty list measures nothing."""
    typo_benchmarks: tuple[str, ...] = ("arc_easy", "piqa")
    """Of `benchmarks`, those that are asked again with typing errors in the questions."""
    prompts: int = Field(default=24, ge=2)
    """Prompts that are answered, greedily and by sampling."""
    new_tokens: PositiveInt = 64
    """Where an answer is cut that does not end by itself."""
    temperature: PositiveFloat = 0.8
    """Of the sampled answers."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Of the sampled answers: the most likely tokens that hold this share are drawn from."""


class Evaluation(Settings):
    """What is measured of teacher, pruned start and student."""

    benchmarks: tuple[str, ...] = ("arc_easy", "piqa", "hellaswag", "boolq", "winogrande", "openbookqa")
    """Names of files in `evaluation/benchmarks/`, scored by lm-eval."""
    documents: int = Field(default=100, ge=2)
    """Documents of each benchmark, spread evenly over its file, the same for every model."""
    batch_size: PositiveInt = 16
    """Requests scored side by side."""
    behaviour: Behaviour = Behaviour()
    """Bias, robustness and what the models write."""
    parity_tokens: PositiveInt = 3072
    """Held-out tokens on which each variant is compared with `torch-fp32`."""
    greedy_tokens: PositiveInt = 32
    """Length of the greedy continuation that is compared."""
