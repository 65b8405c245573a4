"""Prompts whose answers a program can judge: those of the packaged set `reasoning-gym`."""

from functools import cache
from typing import Any

from stillhouse.data.packaged import FAMILIES, GENERATOR_SEED, TASKS_PER_FAMILY
from stillhouse.reasoning.steps import read
from stillhouse.recipe.data import Data, PackagedSet, names_of


def verifiable_sets(data: Data) -> tuple[str, ...]:
    """Names of the sets whose prompts have a verifier."""
    named = zip(names_of(data.sets), data.sets, strict=True)
    return tuple(name for name, each in named if isinstance(each, PackagedSet) and each.name == "reasoning-gym")


def is_right(document_id: str, response: str) -> bool:
    """Whether reasoning-gym's own scorer is wholly content with a response, or with the answer that it states.

    Args:
        document_id: Of a prompt of `reasoning-gym`, whose number is that of its task.
        response: To the prompt.
    """
    number = int(document_id.rpartition("/")[2])
    # As the set is laid out: the families in turn.
    family = _family(FAMILIES[number % len(FAMILIES)])
    entry = family[number // len(FAMILIES)]
    answers = {response.strip(), read(response).answer}
    return any(float(family.score_answer(answer, entry)) >= 1.0 for answer in answers if answer)


@cache
def _family(name: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, seed=GENERATOR_SEED, size=TASKS_PER_FAMILY)
