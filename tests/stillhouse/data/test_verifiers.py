from stillhouse.data.packaged import FAMILIES, read_packaged
from stillhouse.data.verifiers import _family, is_right, verifiable_sets
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
    assert verifiable_sets(Data(sets=sets)) == ("reasoning-gym", "reasoning-gym-2")
