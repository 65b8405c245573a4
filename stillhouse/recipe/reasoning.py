"""The data set kind `reasoning`: tasks with rationales that are checked before anything is trained on them."""

from collections.abc import Sequence
from itertools import combinations
from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from stillhouse.recipe.settings import Settings

ReasoningFamily = Literal["chain_sum", "gcd", "simple_equations", "letter_counting", "spell_backward", "word_sorting"]
REASONING_FAMILIES: tuple[ReasoningFamily, ...] = (
    "chain_sum",
    "gcd",
    "simple_equations",
    "letter_counting",
    "spell_backward",
    "word_sorting",
)
"""Generators of reasoning-gym that tell enough of a task for its steps to be written and checked by a program."""
HELD_OUT_SEED = 5_001_103
"""Evaluation's tasks have seeds from this one on."""
SEEDS_APART = 1_000_000
"""How far training's seeds stay from it."""

SEEDS_A_TASK = 4
"""Seeds that are tried for each task at most: some give what is known already, or has no one answer."""


class GroundTruth(Settings):
    """Rationales that a program writes from what the generator tells of a task, for teachers that are too weak."""

    kind: Literal["ground_truth"] = "ground_truth"


class TeacherTraces(Settings):
    """Rationales that the teacher writes; those whose answer is right are kept."""

    kind: Literal["teacher"] = "teacher"
    samples: PositiveInt = 4
    """Traces drawn for each task; of those that are right and not alike all are kept."""
    temperature: PositiveFloat = 0.7
    """Of the draws."""
    max_new_tokens: PositiveInt = 192
    """Longest trace, in tokens; one that is cut off has no answer and is rejected."""
    batch_size: PositiveInt = 8
    """Tasks asked side by side, each as often as `samples` says."""
    right_steps: bool = False
    """Keep only traces whose every step is right as well; the teacher must then write steps in the form of the
    worked example that it is shown."""


Rationales = Annotated[GroundTruth | TeacherTraces, Field(discriminator="kind")]


class Reasoning(Settings):
    """Tasks of reasoning-gym with a rationale each that ends in the right answer."""

    kind: Literal["reasoning"] = "reasoning"
    families: tuple[ReasoningFamily, ...] = Field(default=REASONING_FAMILIES, min_length=1)
    """Which generators; their tasks come in turn."""
    tasks: PositiveInt = 600
    """Tasks over all families; those that evaluation asks, and those without one answer, are left out."""
    seed: NonNegativeInt = 20_011
    """Of the first task; refused where it or the last task's is within a million of evaluation's."""
    rationales: Rationales = GroundTruth()
    """Who writes them: `ground_truth`, a program; or `teacher`."""
    form: Literal["one_sequence", "two_tasks"] = "one_sequence"
    """`one_sequence` has the rationale and then the answer. `two_tasks` asks each question twice, once for the answer
    alone and once for the rationale (distilling step by step)."""
    rationale_weight: float | None = Field(default=None, gt=0, lt=1)
    """Share of the rationale task in this set's loss, 0.5 where left out; only with `two_tasks`."""

    @model_validator(mode="after")
    def _can_be_kept_apart(self) -> Self:
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"families names one twice: {', '.join(self.families)}; name each family once")
        last = self.seed + SEEDS_A_TASK * self.tasks
        if self.seed < HELD_OUT_SEED + SEEDS_APART and last > HELD_OUT_SEED - SEEDS_APART:
            raise ValueError(
                f"seed is {self.seed}, within {SEEDS_APART:,} of evaluation's ({HELD_OUT_SEED}); take one below "
                f"{HELD_OUT_SEED - SEEDS_APART - SEEDS_A_TASK * self.tasks} or from {HELD_OUT_SEED + SEEDS_APART} on"
            )
        if self.rationale_weight is not None and self.form == "one_sequence":
            raise ValueError(
                f"rationale_weight is {self.rationale_weight}, but the form one_sequence has one task alone; "
                "say form: two_tasks, or leave rationale_weight out"
            )
        return self

    @property
    def seeds(self) -> range:
        """Those that its tasks have, or more where some are of no use."""
        return range(self.seed, self.seed + ceil(self.tasks / len(self.families)))

    @property
    def rationale_share(self) -> float:
        """Share of the rationale task in the loss of two tasks."""
        return 0.5 if self.rationale_weight is None else self.rationale_weight


def check_apart(named: Sequence[tuple[str, Reasoning]]) -> None:
    """Refuse a set whose tasks an earlier one has: a question is trained on once, so nothing would be left of it.

    Raises:
        ValueError: Naming both.
    """
    for (name, one), (other_name, other) in combinations(named, 2):
        within = one.seeds.start <= other.seeds.start and other.seeds.stop <= one.seeds.stop
        # Of a few that both have, the second loses its own and keeps the rest.
        if within and set(other.families) <= set(one.families):
            raise ValueError(
                f"{other_name} has tasks of {', '.join(other.families)} from seed {other.seed} on, all of which {name} "
                f"has too; give {other_name} other families, or a seed from {one.seed + SEEDS_A_TASK * one.tasks} on"
            )
