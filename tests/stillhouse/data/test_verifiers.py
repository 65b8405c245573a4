import platform

import pytest

from stillhouse.data.document import Document
from stillhouse.data.packaged import FAMILIES, read_packaged
from stillhouse.data.verifiers import _family, is_right, scored_sets, verdict
from stillhouse.recipe.data import Data, PackagedSet


def right_answer(number):
    entry = _family(FAMILIES[number % len(FAMILIES)])[number // len(FAMILIES)]
    task = read_packaged("reasoning-gym", "reasoning-gym", 24)[number]
    assert entry["question"] == task.messages[0]["content"]
    return entry["answer"]


def test_the_verifier_of_a_prompt_is_that_of_its_own_task():
    for number in range(24):
        assert is_right(f"reasoning-gym/{number}", f" {right_answer(number)}\n")
        assert is_right(f"reasoning-gym-2/{number}", f"I work it out.\nAnswer: {right_answer(number)}")
        assert not is_right(f"reasoning-gym/{number}", "I do not know.")


def test_every_set_of_the_gym_is_named():
    sets = (PackagedSet(name="reasoning-gym"), PackagedSet(name="nq-open"), PackagedSet(name="reasoning-gym"))
    assert scored_sets(Data(sets=sets)) == ("reasoning-gym", "reasoning-gym-2")


def asked(document_id, tests=None):
    return Document(document_id, "prompt", ({"role": "user", "content": "write add"},), tests=tests)


def test_a_prompt_is_judged_by_its_tests_or_the_scorer_of_its_set_and_others_by_nothing():
    assert verdict(asked("nq-open/0"), "seven", ("reasoning-gym",)) is None
    assert verdict(asked("reasoning-gym/0"), right_answer(0), ("reasoning-gym",)) is True
    assert verdict(asked("reasoning-gym/0"), "I do not know.", ("reasoning-gym",)) is False
    # A user's own file may be called so.
    assert verdict(asked("reasoning-gym/0"), right_answer(0), ()) is None


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the sandbox is of Linux on x86-64"
)
def test_the_tests_of_a_prompt_are_its_verifier():
    prompt = asked("mine/3", "assert add(1, 2) == 3")
    assert verdict(prompt, "Sure:\n```python\ndef add(a, b):\n    return a + b\n```", ()) is True
    assert verdict(prompt, "def add(a, b):\n    return a", ()) is False
