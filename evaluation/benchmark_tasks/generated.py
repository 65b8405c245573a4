"""Documents that code makes: the same for every model, and from seeds that no training data has.

`needle` has the form of RULER's `niah_single_1` (Hsieh et al., 2024, arXiv:2404.06654): a number stands somewhere in
a long text of the same few sentences, and is asked for at its end. `reasoning_gym` has tasks of reasoning-gym
(Stojanovski et al., 2025, arXiv:2505.24760), judged by its own verifiers. `reasoning_steps` asks those of them that are
solved in steps to be solved so, and reads what is written line by line.
"""

from typing import Any, assert_never

import numpy as np

from evaluation.benchmark_files import Generator
from stillhouse.data.packaged import FAMILIES
from stillhouse.reasoning.problems import ASK_STEPS, check_steps, held_out_problems, is_right, right_share
from stillhouse.reasoning.steps import read
from stillhouse.recipe.reasoning import HELD_OUT_SEED

GYM_SEED = HELD_OUT_SEED
"""A generator's tasks have seeds from this one on; training's stay a million away."""
_NEEDLE_SEED = 20_240_411
_HAY = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_HAY_PIECES = 40
"""About a thousand tokens."""
_KEYS = ("lantern", "harbor", "copper", "meadow", "saddle", "violin", "thimble", "walnut", "glacier", "compass")
_DEPTHS = 10
"""Places of the needle, evenly from the text's beginning to its end."""


def generate(generator: Generator, documents: int) -> list[dict[str, Any]]:
    """Make the first documents of a generator; more documents begin with the same ones.

    Returns:
        Rows of `text`, what the model reads, and `answer`; those of reasoning-gym also of `task`, `family` and `place`.
    """
    match generator:
        case "needle":
            return [_needle(number) for number in range(documents)]
        case "reasoning_gym":
            return _gym_tasks(documents)
        case "reasoning_steps":
            return _step_tasks(documents)
        case _:
            assert_never(generator)


def is_correct(generator: Generator, row: dict[str, Any], answer: str) -> bool:
    """Judge what a model wrote: a needle must stand in it, a task's verifier must be content with all of it."""
    match generator:
        case "needle":
            return str(row["answer"]) in answer
        case "reasoning_gym":
            dataset = _family(row["family"], row["place"] + 1)
            return float(dataset.score_answer(answer.strip(), dataset[row["place"]])) >= 1.0
        case "reasoning_steps":
            return is_right(held_out_problems(row["place"] + 1)[-1], read(answer).answer)
        case _:
            assert_never(generator)


def share_of_right_steps(row: dict[str, Any], answer: str) -> float:
    """Lines that are true and follow, of those that a model wrote before its answer or should have written."""
    return right_share(held_out_problems(row["place"] + 1)[-1], read(answer).steps)


def is_sound(row: dict[str, Any], answer: str) -> bool:
    """Whether the answer is right, every step is, and none is missing."""
    problem, trace = held_out_problems(row["place"] + 1)[-1], read(answer)
    return is_right(problem, trace.answer) and check_steps(problem, trace.steps).sound


def _needle(number: int) -> dict[str, Any]:
    drawn = np.random.default_rng([_NEEDLE_SEED, number])
    key, value = _KEYS[number % len(_KEYS)], str(drawn.integers(1_000_000, 10_000_000))
    # Every depth in turn, with another key each time that the depths come round.
    depth = (number + number // len(_KEYS)) % _DEPTHS
    pieces = [_HAY] * _HAY_PIECES
    pieces.insert(
        round(_HAY_PIECES * depth / (_DEPTHS - 1)), f"One of the special magic numbers for {key} is: {value}."
    )
    text = (
        "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about "
        f"the number afterwards.\n{chr(10).join(pieces)}\nWhat is the special magic number for {key} mentioned in the "
        f"provided text? The special magic number for {key} mentioned in the provided text is"
    )
    return {"text": text, "answer": value}


def _gym_tasks(documents: int) -> list[dict[str, Any]]:
    """Tasks of every family in turn."""
    each = -(-documents // len(FAMILIES))
    families = {family: _family(family, each) for family in FAMILIES}
    rows = [
        {
            "text": f"Question: {families[family][place]['question']}\nAnswer:",
            "task": families[family][place]["question"],
            "answer": str(families[family][place]["answer"]),
            "family": family,
            "place": place,
        }
        for place in range(each)
        for family in FAMILIES
    ]
    return rows[:documents]


def _step_tasks(documents: int) -> list[dict[str, Any]]:
    return [
        {
            "text": f"{ASK_STEPS}\n{problem.question}",
            "task": problem.question,
            "answer": problem.answer,
            "family": problem.family,
            "place": place,
        }
        for place, problem in enumerate(held_out_problems(documents))
    ]


def _family(family: str, size: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(family, seed=GYM_SEED, size=size)
