"""The `evaluation` section."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings

BehaviourSuite = Literal[
    "stereoset", "typos", "generations", "calibration", "bias", "harm", "robustness", "recitation", "responses"
]
FewerDocuments = Literal["refused", "all asked"]
VARIANT_DOCUMENTS = 25
"""Of each benchmark, where a recipe does not say."""
SUITES = Path(__file__).parents[2] / "recipes" / "suites"


class Behaviour(Settings):
    """How the models behave, beside what they can do."""

    suites: tuple[BehaviourSuite, ...] = ("stereoset", "typos", "generations", "calibration")
    """What is measured; an empty list measures nothing. The others, which take longer, are bias, harm, robustness and
    responses, and recitation of training text, for which `generations` has to be there too."""
    typo_benchmarks: tuple[str, ...] = ("arc_easy", "piqa")
    """Of `benchmarks`, those that are asked again with typing errors in the questions."""
    prompts: int = Field(default=24, ge=2)
    """Prompts that are answered, greedily and by sampling; `responses` asks as many tasks with a verifier as well."""
    new_tokens: PositiveInt = 64
    """Where an answer is cut that does not end by itself."""
    temperature: PositiveFloat = 0.8
    """Of the sampled answers."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Of the sampled answers: the most likely tokens that hold this share are drawn from."""
    responses: int = Field(default=4, ge=2, le=1000)
    """Sampled responses to each prompt, for the suite of that name."""
    bias_documents: int = Field(default=50, ge=4)
    """Questions of BBQ of each kind, pairs of CrowS-Pairs, and sentences with a pronoun."""
    harm_prompts: int = Field(default=24, ge=4)
    """Toxic texts and innocent texts to go on with, and harmful requests; what is benign or injected is asked whole."""
    robustness_benchmarks: tuple[str, ...] = ("arc_easy", "piqa")
    """Of `benchmarks`, those whose questions are changed."""
    robustness_documents: int = Field(default=25, ge=2)
    """Documents of each of them, asked again for every kind of change."""
    long_tokens: PositiveInt = 768
    """How long a question is made that is to be very long; shortened to fit the model's context."""


class Evaluation(Settings):
    """What is measured of teacher, pruned start and student."""

    suite: str | None = None
    """Name of a file in `recipes/suites/`, whose content stands under what is said here."""
    benchmarks: tuple[str, ...] = ("arc_easy", "piqa", "hellaswag", "boolq", "winogrande", "openbookqa")
    """Names of files in `evaluation/benchmarks/`, scored by lm-eval."""
    documents: int = Field(default=100, ge=2)
    """Documents of each benchmark, spread evenly over its file, the same for every model."""
    fewer_documents: FewerDocuments = "refused"
    """What is done with a benchmark that holds fewer: refused, or all of it asked."""
    contaminated_at_most: float = Field(default=0.02, ge=0, le=1)
    """A benchmark is refused with a larger share of documents that occur in the training data."""
    batch_size: PositiveInt = 16
    """Requests scored side by side."""
    behaviour: Behaviour = Behaviour()
    """Bias, robustness and what the models write."""
    parity_tokens: PositiveInt = 3072
    """Held-out tokens on which each variant is compared with `torch-fp32`."""
    greedy_tokens: PositiveInt = 32
    """Length of the greedy continuation that is compared."""
    variant_documents: int = Field(
        default_factory=lambda asked: min(VARIANT_DOCUMENTS, asked.get("documents", VARIANT_DOCUMENTS)),
        ge=0,
        json_schema_extra={"default": VARIANT_DOCUMENTS},
    )
    """Documents of each benchmark that every variant answers from its own bytes; at most `documents`, 0 for none."""

    @model_validator(mode="after")
    def _variants_answer_what_models_do(self) -> Self:
        if self.variant_documents > self.documents:
            raise ValueError(
                f"variant_documents is {self.variant_documents} and documents {self.documents}; variants answer some "
                f"of the documents that models do, so give {self.documents} or fewer, or 0"
            )
        if self.variant_documents == 1:
            raise ValueError("variant_documents is 1, which says nothing of the spread; give 2 or more, or 0")
        return self

    @model_validator(mode="before")
    @classmethod
    def _over_its_suite(cls, asked: Any) -> Any:
        if not isinstance(asked, dict) or asked.get("suite") is None:
            return asked
        suite = read_suite(asked["suite"])
        both = suite | asked
        if isinstance(asked.get("behaviour"), dict):
            both["behaviour"] = suite.get("behaviour", {}) | asked["behaviour"]
        return both


def known_suites() -> tuple[str, ...]:
    """Names of the suites that ship."""
    return tuple(sorted(path.stem for path in SUITES.glob("*.yaml")))


def read_suite(name: str) -> dict[str, Any]:
    """Read what a suite says of the section `evaluation`.

    Raises:
        InputError: If there is no such suite.
    """
    if name not in known_suites():
        raise InputError(f"there is no suite {name!r}; take one of {', '.join(known_suites())}")
    content: dict[str, Any] = yaml.safe_load((SUITES / f"{name}.yaml").read_text(encoding="utf-8"))
    return content
