import pytest

from evaluation.behaviour.question_changes import (
    DESCRIPTIONS,
    KINDS,
    OPTION_ORDER,
    TEMPLATES,
    change_question,
    filler_of,
    kinds_of,
    place_before_rotation,
    rotate_choices,
)

ROW = {"question": "Why is The sky blue?", "answer": "light"}


def changed(kind: str) -> str:
    found = change_question(kind, ROW, 3, columns=("question",), filler="Much text.")
    assert set(found) <= {"question"}
    return found.get("question", ROW["question"])


def test_every_kind_is_described():
    assert set(DESCRIPTIONS) == set(KINDS)


def test_case_and_emptiness():
    assert changed("lower_case") == "why is the sky blue?"
    assert changed("upper_case") == "WHY IS THE SKY BLUE?"
    assert changed("empty") == ""


@pytest.mark.parametrize("kind", ["distractor", "emoji", "foreign", "long"])
def test_noise_leaves_the_question_as_it_is(kind):
    text = changed(kind)
    assert ROW["question"] in text and len(text) > len(ROW["question"]) + 3


def test_two_documents_get_different_sentences():
    one, other = (change_question("foreign", ROW, number, columns=("question",), filler="") for number in (0, 1))
    assert one != other


def test_noise_stands_in_the_first_column_and_case_in_all():
    row = {"ctx_a": "A man", "ctx_b": "He"}
    noisy = change_question("emoji", row, 0, columns=("ctx_a", "ctx_b"), filler="")
    assert set(noisy) == {"ctx_a"}
    assert change_question("upper_case", row, 0, columns=("ctx_a", "ctx_b"), filler="") == {
        "ctx_a": "A MAN",
        "ctx_b": "HE",
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]}, "answerKey": "C"},
            {"choices": {"text": ["c", "a", "b"], "label": ["A", "B", "C"]}, "answerKey": "A"},
        ),
        ({"choices": ["a", "b", "c", "d"], "answer": 1}, {"choices": ["d", "a", "b", "c"], "answer": 2}),
        (
            {"opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 3},
            {"opa": "d", "opb": "a", "opc": "b", "opd": "c", "cop": 0},
        ),
    ],
)
def test_the_right_answer_moves_with_its_choice(row, expected):
    assert rotate_choices(row) == expected


def test_a_choice_is_known_again_after_the_rotation():
    before = ["a", "b", "c", "d"]
    after = rotate_choices({"choices": before, "answer": 0})["choices"]
    assert [before[place_before_rotation(place, 4)] for place in range(4)] == after


def test_choices_in_unknown_columns_are_refused():
    with pytest.raises(ValueError, match="none of the known columns: question, answer"):
        rotate_choices(ROW)


def test_kinds_that_do_not_apply_are_left_out():
    assert "option_order" not in kinds_of("arc_easy") and "template_plain" in kinds_of("arc_easy")
    assert "option_order" in kinds_of(OPTION_ORDER[0]) and "template_plain" not in kinds_of(OPTION_ORDER[0])
    assert kinds_of("hellaswag") == tuple(
        kind for kind in KINDS if kind not in ("template_plain", "template_chatty", "option_order")
    )
    assert "hellaswag" not in TEMPLATES


def test_filler_is_as_long_as_asked_and_no_sentence_stands_there_twice():
    text = filler_of(20)
    assert text.count("(") == 20 and "(20) " in text
