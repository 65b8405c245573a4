"""Tasks of reasoning-gym, what is asked of them, and how rationales and answers are judged.

Training and evaluation make their tasks here, from seeds a million or more apart. Seeds alone do not keep them apart,
since a small family says the same twice: what evaluation asks is left out of training by its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from typing import Any

from stillhouse.data.splits import normalised
from stillhouse.errors import InputError
from stillhouse.reasoning import arithmetic, spelling
from stillhouse.reasoning.steps import Checked, Metadata
from stillhouse.recipe.reasoning import (
    HELD_OUT_SEED,
    REASONING_FAMILIES,
    SEEDS_A_TASK,
    SEEDS_APART,
    Reasoning,
    ReasoningFamily,
)
from stillhouse.store.artifact import hash_json

HELD_OUT_TASKS = 100
"""Of each family: as many as the benchmarks ask at most."""
ASK_STEPS = "Work step by step, one step a line, and end with a line that says Answer: and the answer."
"""Stands before a question that is to be answered with a rationale, in training and in evaluation."""
ASK_ANSWER = "Give the answer alone."
"""Stands before one that is to be answered at once, where a student learns both."""


@dataclass(frozen=True)
class Problem:
    """A task."""

    family: ReasoningFamily
    seed: int
    """Of this task alone."""
    question: str
    answer: str
    metadata: Metadata
    """What the generator tells of it."""


def read_problems(asked: Reasoning) -> list[Problem]:
    """The tasks of a set, of every family in turn: none that evaluation asks, none twice, none without one answer.

    Raises:
        InputError: If a family has fewer tasks than are asked for.
    """
    each = -(-asked.tasks // len(asked.families))
    families = [_new_problems(family, asked, each) for family in asked.families]
    return [family[place] for place in range(each) for family in families][: asked.tasks]


def held_out_problems(number: int) -> list[Problem]:
    """The first tasks that evaluation asks, of every family in turn."""
    each = -(-number // len(REASONING_FAMILIES))
    families = [_held_out(family) for family in REASONING_FAMILIES]
    return [family[place] for place in range(each) for family in families][:number]


def example_of(family: ReasoningFamily) -> Problem:
    """A task to show how one is solved: from a seed between training's and evaluation's."""
    made = (_problem(family, HELD_OUT_SEED - SEEDS_APART // 2 + place) for place in count())
    return next(problem for problem in made if write_steps(problem) is not None)


def digest_of(asked: Reasoning) -> str:
    """SHA-256 that tells the tasks of a set apart.

    Raises:
        InputError: If the generator is not installed.
    """
    try:
        release = version("reasoning-gym")
    except PackageNotFoundError:
        raise InputError(
            "data of the kind reasoning needs the package reasoning-gym, which is not installed; "
            "install stillhouse[compress]"
        ) from None
    return hash_json(["reasoning", release, asked.families, asked.tasks, asked.seed])


def write_steps(problem: Problem) -> list[str] | None:
    """The rationale that a program writes; `None` where the task has no single answer."""
    match problem.family:
        case "chain_sum":
            return arithmetic.write_sum(problem.metadata)
        case "gcd":
            return arithmetic.write_gcd(problem.metadata)
        case "simple_equations":
            return arithmetic.write_equation(problem.metadata)
        case "letter_counting":
            return spelling.write_count(problem.metadata)
        case "spell_backward":
            return spelling.write_backward(problem.metadata)
        case "word_sorting":
            return spelling.write_sorted(problem.metadata)


def check_steps(problem: Problem, steps: Sequence[str]) -> Checked:
    """Whether each line of a rationale is true and follows."""
    match problem.family:
        case "chain_sum":
            return arithmetic.check_sum(problem.metadata, steps)
        case "gcd":
            return arithmetic.check_gcd(problem.metadata, steps)
        case "simple_equations":
            return arithmetic.check_equation(problem.metadata, steps)
        case "letter_counting":
            return spelling.check_count(problem.metadata, steps)
        case "spell_backward":
            return spelling.check_backward(problem.metadata, steps)
        case "word_sorting":
            return spelling.check_sorted(problem.metadata, steps)


def right_share(problem: Problem, steps: Sequence[str]) -> float:
    """Right lines, of as many as there are or as the program's rationale has, whichever are more."""
    needed = len(write_steps(problem) or ())
    return sum(check_steps(problem, steps).right) / max(len(steps), needed, 1)


def is_right(problem: Problem, answer: str | None) -> bool:
    """Whether reasoning-gym's own scorer is wholly content, or the answer is the right number otherwise written."""
    if answer is None:
        return False
    entry = {"question": problem.question, "answer": problem.answer, "metadata": problem.metadata}
    scorer = _generator(problem.family)
    return float(scorer.score_answer(answer, entry)) >= 1.0 or _same_number(answer, problem.answer)


def _new_problems(family: ReasoningFamily, asked: Reasoning, number: int) -> list[Problem]:
    known = {normalised(problem.question) for problem in _held_out(family)}
    found: list[Problem] = []
    for seed in range(asked.seed, asked.seed + SEEDS_A_TASK * asked.tasks):
        problem = _problem(family, seed)
        if normalised(problem.question) not in known and write_steps(problem) is not None:
            known.add(normalised(problem.question))
            found.append(problem)
        if len(found) == number:
            return found
    raise InputError(
        f"the family {family} gives {len(found)} distinct tasks from {SEEDS_A_TASK * asked.tasks} seeds, and {number} "
        "are asked for; lower the tasks of the set, or name more families"
    )


@cache
def _held_out(family: ReasoningFamily) -> list[Problem]:
    made = (_problem(family, HELD_OUT_SEED + place) for place in count())
    return list(islice((problem for problem in made if write_steps(problem) is not None), HELD_OUT_TASKS))


def _problem(family: ReasoningFamily, seed: int) -> Problem:
    # A generator's task is drawn from its seed and place added up, so any task has a seed of its own.
    entry = _generator(family)[seed]
    return Problem(family, seed, entry["question"], str(entry["answer"]), entry["metadata"])


@cache
def _generator(family: ReasoningFamily) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(family, seed=0, size=1)


def _same_number(one: str, other: str) -> bool:
    try:
        return Decimal(one.replace(",", "")) == Decimal(other.replace(",", ""))
    except InvalidOperation:
        return False
