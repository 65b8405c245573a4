"""Prompts whose answers a program can judge: those with tests, and those of the packaged set `reasoning-gym`."""

from collections.abc import Collection
from functools import cache
from typing import Any

from stillhouse.data.document import Document
from stillhouse.data.packaged import FAMILIES, GENERATOR_SEED, TASKS_PER_FAMILY
from stillhouse.data.programs import passes
from stillhouse.reasoning.steps import read
from stillhouse.recipe.data import Data, PackagedSet, names_of


def scored_sets(data: Data) -> tuple[str, ...]:
    """Names of the sets whose prompts reasoning-gym scores; tests stand with each prompt that has them."""
    named = zip(names_of(data.sets), data.sets, strict=True)
    return tuple(name for name, each in named if isinstance(each, PackagedSet) and each.name == "reasoning-gym")


def verdict(prompt: Document, response: str, scored: Collection[str]) -> bool | None:
    """What the verifier of a prompt says of a response; `None` where there is none.

    Args:
        prompt: With its tests, if it has any.
        response: To the prompt.
        scored: As `scored_sets` names them.

    Raises:
        RuntimeError: If there are tests and the kernel does not grant the sandbox; preflight sees to it.
    """
    if prompt.tests is not None:
        return passes(response, prompt.tests)
    return is_right(prompt.id, response) if prompt.set_name in scored else None


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
