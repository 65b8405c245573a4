"""Documents that code makes: the same for every model, and from seeds that no training data has.

`needle` has the form of RULER's `niah_single_1` (Hsieh et al., 2024, arXiv:2404.06654): a number stands somewhere in
a long text of the same few sentences, and is asked for at its end. `reasoning_gym` has tasks of reasoning-gym
(Stojanovski et al., 2025, arXiv:2505.24760), judged by its own verifiers.
"""

from typing import Any, Literal, assert_never

import numpy as np

from stillhouse.data.packaged import FAMILIES, GENERATOR_SEED

GYM_SEED = GENERATOR_SEED + 5_000_000
"""A generator's tasks have seeds from this one on; training's begin five million below."""
_NEEDLE_SEED = 20_240_411
_HAY = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
_HAY_PIECES = 40
"""About a thousand tokens."""
_KEYS = ("lantern", "harbor", "copper", "meadow", "saddle", "violin", "thimble", "walnut", "glacier", "compass")
_DEPTHS = 10
"""Places of the needle, evenly from the text's beginning to its end."""


def generate(generator: Literal["needle", "reasoning_gym"], documents: int) -> list[dict[str, Any]]:
    """Make the first documents of a generator; more documents begin with the same ones.

    Returns:
        Rows of `text`, what the model reads, and `answer`; `reasoning_gym`'s also of `family` and `place`.
    """
    match generator:
        case "needle":
            return [_needle(number) for number in range(documents)]
        case "reasoning_gym":
            return _gym_tasks(documents)
        case _:
            assert_never(generator)


def is_correct(generator: Literal["needle", "reasoning_gym"], row: dict[str, Any], answer: str) -> bool:
    """Judge what a model wrote: a needle must stand in it, a task's verifier must be content with all of it."""
    match generator:
        case "needle":
            return str(row["answer"]) in answer
        case "reasoning_gym":
            dataset = _family(row["family"], row["place"] + 1)
            return float(dataset.score_answer(answer.strip(), dataset[row["place"]])) >= 1.0
        case _:
            assert_never(generator)


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


def _family(family: str, size: int) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(family, seed=GYM_SEED, size=size)
