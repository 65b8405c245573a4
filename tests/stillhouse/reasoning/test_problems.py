import string

import pytest
from pydantic import ValidationError

from evaluation.benchmark_tasks.generated import GYM_SEED, generate
from stillhouse.data.splits import normalised
from stillhouse.errors import InputError
from stillhouse.reasoning import problems
from stillhouse.reasoning.problems import (
    check_steps,
    held_out_problems,
    is_right,
    read_problems,
    right_share,
    write_steps,
)
from stillhouse.reasoning.steps import Trace, read, spell
from stillhouse.recipe.reasoning import HELD_OUT_SEED, REASONING_FAMILIES, Reasoning


def of_family(family, tasks=50):
    return read_problems(Reasoning(families=(family,), tasks=tasks))


def one(family, **metadata):
    return problems.Problem(family, 0, "", "", metadata)


@pytest.mark.parametrize("family", REASONING_FAMILIES)
def test_the_program_s_steps_pass_the_checker_and_its_answer_the_generator_s_scorer(family):
    import reasoning_gym

    scorer = reasoning_gym.create_dataset(family, seed=0, size=1)
    for problem in of_family(family):
        steps = write_steps(problem)
        trace = read(spell(steps, problem.answer))
        assert trace == Trace(tuple(steps), problem.answer)
        assert check_steps(problem, trace.steps).sound
        assert right_share(problem, trace.steps) == 1
        entry = {"answer": problem.answer, "metadata": problem.metadata}
        assert scorer.score_answer(trace.answer, entry) == 1


@pytest.mark.parametrize("family", REASONING_FAMILIES)
def test_a_single_wrong_character_is_found_wherever_it_stands(family):
    changed = 0
    for problem in of_family(family, tasks=8):
        steps = write_steps(problem)
        for line, step in enumerate(steps):
            for place, character in enumerate(step):
                if character in string.digits:
                    other = str((int(character) + 1) % 10)
                elif character.isalpha():
                    other = "x" if character != "x" else "y"
                else:
                    continue
                wrong = [*steps[:line], step[:place] + other + step[place + 1 :], *steps[line + 1 :]]
                assert not check_steps(problem, wrong).sound, wrong
                assert right_share(problem, wrong) < 1, wrong
                changed += 1
    assert changed > 30


@pytest.mark.parametrize("family", REASONING_FAMILIES)
def test_a_rationale_that_lacks_its_end_is_not_sound(family):
    for problem in of_family(family, tasks=8):
        steps = write_steps(problem)
        assert not check_steps(problem, steps[:-1]).sound
        assert right_share(problem, steps[:-1]) < 1 or len(steps) == 0
        assert not check_steps(problem, [*steps, "and so on"]).sound


def test_a_slip_that_is_carried_on_rightly_counts_once():
    problem = one("chain_sum", expression="4 + 3 - 2 + 10")
    assert check_steps(problem, ["4 + 3 = 8", "8 - 2 = 6", "6 + 10 = 16"]).right == (False, True, True)
    assert check_steps(problem, ["4 + 3 = 8", "7 - 2 = 5", "5 + 10 = 15"]).right == (False, False, True)
    assert right_share(problem, ["4 + 3 = 7"]) == pytest.approx(1 / 3)


def test_euclid_goes_on_with_what_it_found_so_far():
    problem = one("gcd", numbers=[12, 18, 4])
    steps = write_steps(problem)
    assert steps == ["12 mod 18 = 12", "18 mod 12 = 6", "12 mod 6 = 0", "4 mod 6 = 4", "6 mod 4 = 2", "4 mod 2 = 0"]
    assert check_steps(problem, steps).sound
    assert not check_steps(problem, steps[:3]).complete


def test_an_equation_may_be_solved_another_way_but_must_keep_its_solution():
    problem = one("simple_equations", equation="7 - 2*x = 1", variable="x")
    assert write_steps(problem) == ["-2*x = -6", "x = 3"]
    for steps in (["2*x = 6", "x = 3"], ["-2*x + 7 = 1", "x = 3"], ["x = 3"]):
        assert check_steps(problem, steps).sound
    assert check_steps(problem, ["2*x = 8", "x = 4"]).right == (False, True)
    assert not check_steps(problem, ["2*x = 6"]).complete
    assert check_steps(problem, ["2*y = 6", "0*x = 0", "x ="]).right == (False, False, False)
    assert write_steps(one("simple_equations", equation="0 = 0", variable="x")) is None


def test_numbers_are_right_by_value_and_words_by_the_generator_s_scorer():
    found = of_family("gcd", tasks=1)[0]
    assert is_right(found, f"{found.answer}.0") and is_right(found, f" {found.answer}".strip())
    assert not is_right(found, f"{found.answer}1") and not is_right(found, None) and not is_right(found, "")
    word = of_family("spell_backward", tasks=1)[0]
    assert is_right(word, word.answer) and not is_right(word, word.answer[:-1])


def test_what_follows_the_answer_is_not_read():
    assert read("a\n\n b \nanswer: 7\nAnswer: 8") == Trace(("a", "b"), "7")
    assert read("a\nb") == Trace(("a", "b"), None)


def test_evaluation_s_tasks_are_never_trained_on_even_from_its_own_seeds():
    assert GYM_SEED == HELD_OUT_SEED
    asked = {normalised(problem.question) for problem in held_out_problems(600)}
    assert {normalised(row["task"]) for row in generate("reasoning_steps", 600)} == asked
    trained = [normalised(problem.question) for problem in read_problems(Reasoning(tasks=3000))]
    assert len(set(trained)) == len(trained) == 3000
    assert asked.isdisjoint(trained)
    # The recipe refuses such a seed; were it let through, the questions themselves would still be left out.
    same_seeds = Reasoning.model_construct(families=REASONING_FAMILIES, tasks=60, seed=HELD_OUT_SEED)
    assert asked.isdisjoint(normalised(problem.question) for problem in read_problems(same_seeds))


def test_more_tasks_begin_with_the_same_ones_and_families_come_in_turn():
    few, many = read_problems(Reasoning(tasks=8)), read_problems(Reasoning(tasks=20))
    assert many[:8] == few
    assert [problem.family for problem in few[:6]] == list(REASONING_FAMILIES)


def test_a_family_that_runs_out_is_named(monkeypatch):
    always = problems._problem("gcd", 1)
    monkeypatch.setattr(problems, "_problem", lambda family, seed: always)
    problems._held_out.cache_clear()
    monkeypatch.setattr(problems, "_held_out", lambda family: [])
    with pytest.raises(InputError, match="family gcd gives 1 distinct tasks from 40 seeds, and 10"):
        read_problems(Reasoning(families=("gcd",), tasks=10))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"seed": HELD_OUT_SEED}, "within 1,000,000 of evaluation's"),
        ({"seed": HELD_OUT_SEED - 1_000_100, "tasks": 600}, "within 1,000,000 of evaluation's"),
        ({"seed": HELD_OUT_SEED + 999_999}, "within 1,000,000 of evaluation's"),
        ({"families": ["gcd", "gcd"]}, "names one twice"),
        ({"families": ["sudoku"]}, "Input should be"),
        ({"rationale_weight": 0.5}, "one_sequence has one task alone"),
        ({"form": "two_tasks", "rationale_weight": 1.0}, "less than 1"),
    ],
)
def test_a_set_that_cannot_work_is_refused_in_words(asked, words):
    with pytest.raises(ValidationError, match=words):
        Reasoning.model_validate(asked)


def test_seeds_on_either_side_are_taken():
    Reasoning(seed=HELD_OUT_SEED + 1_000_000)
    Reasoning(seed=HELD_OUT_SEED - 1_000_000 - 2400, tasks=600)
