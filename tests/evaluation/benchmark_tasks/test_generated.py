from evaluation.benchmark_tasks.generated import GYM_SEED, generate, is_correct, is_sound, share_of_right_steps
from stillhouse.data.packaged import FAMILIES, GENERATOR_SEED, TASKS_PER_FAMILY
from stillhouse.reasoning.problems import held_out_problems, write_steps
from stillhouse.reasoning.steps import spell


def test_more_documents_begin_with_the_same_ones():
    for generator in ("needle", "reasoning_gym", "reasoning_steps"):
        assert generate(generator, 24)[:10] == generate(generator, 10)


def test_tasks_are_of_every_family_in_turn_from_seeds_that_training_has_not():
    rows = generate("reasoning_gym", 16)
    assert [row["family"] for row in rows] == [*FAMILIES, *FAMILIES]
    assert GENERATOR_SEED + TASKS_PER_FAMILY < GYM_SEED


def test_needles_lie_at_every_depth_and_each_is_asked_for_once():
    rows = generate("needle", 100)
    lines = [row["text"].split("\n") for row in rows]
    places = [
        next(n for n, line in enumerate(each) if line.endswith(f"{row['answer']}."))
        for each, row in zip(lines, rows, strict=True)
    ]
    # Forty sentences of hay behind one of instruction: from before the first to behind the last.
    assert sorted(set(places)) == [1, 5, 10, 14, 19, 23, 28, 32, 37, 41]
    assert all(row["text"].count(row["answer"]) == 1 for row in rows)
    assert len({row["answer"] for row in rows}) == 100


def test_a_needle_counts_where_it_stands_in_the_answer():
    assert is_correct("needle", {"answer": "1234567"}, " 1234567.")
    assert not is_correct("needle", {"answer": "1234567"}, " 123456")


def test_a_task_counts_only_where_its_verifier_is_wholly_content():
    row = generate("reasoning_gym", 1)[0]
    assert is_correct("reasoning_gym", row, row["answer"])
    assert not is_correct("reasoning_gym", row, "")
    assert not is_correct("reasoning_gym", row, "I do not know")


def test_answer_and_steps_are_judged_apart():
    row = generate("reasoning_steps", 7)[6]
    steps = write_steps(held_out_problems(7)[6])
    right = spell(steps, row["answer"])
    assert row["family"] == "chain_sum" and len(steps) > 1
    assert (is_correct("reasoning_steps", row, right), share_of_right_steps(row, right), is_sound(row, right)) == (
        True,
        1.0,
        True,
    )
    guessed = spell(["?"], row["answer"])
    assert is_correct("reasoning_steps", row, guessed) and not is_sound(row, guessed)
    assert share_of_right_steps(row, guessed) == 0
    slipped = spell(steps, "no number")
    assert not is_correct("reasoning_steps", row, slipped) and not is_sound(row, slipped)
    assert share_of_right_steps(row, slipped) == 1
    assert not is_correct("reasoning_steps", row, row["answer"]), "no line says that it is the answer"
