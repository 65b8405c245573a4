"""Other teachers that answer prompts, as the recipe says it: what is read, and what is refused."""

import pytest
from pydantic import ValidationError

from stillhouse.recipe.data import Data

PROMPTS = [{"kind": "packaged", "name": "nq-open"}, {"kind": "jsonl", "path": "code.jsonl"}]
OTHER_KINDS = [
    {"kind": "packaged", "name": "boolq-passages"},
    {"kind": "hub", "path": "org/texts", "text_column": "text"},
    {"kind": "hub", "path": "org/chats", "messages_column": "messages"},
    {"kind": "reasoning"},
]


def data(*serves: list[str]) -> Data:
    others = [{"teacher": f"org/{number}", "serves": names} for number, names in enumerate(serves)]
    return Data(sets=[*PROMPTS, *OTHER_KINDS], answers={"others": others})


def test_a_teacher_is_written_as_everywhere_in_a_recipe():
    (one,) = data(["code", "org/chats"]).answers.others
    assert (one.teacher.source, one.teacher.trust_remote_code, one.serves) == ("org/0", False, ("code", "org/chats"))


@pytest.mark.parametrize(
    ("serves", "words"),
    [
        ([["cod"]], r"others\.0\.serves names cod, which is none of the data sets; they are nq-open, code, boolq"),
        ([["code"], []], r"others\.1\.serves is empty, so that teacher answers nothing; name some of nq-open, code"),
        ([["code"], ["nq-open", "code"]], r"others\.1\.serves names code, which answers\.others\.0\.serves names too"),
        ([["code", "code"]], r"others\.0\.serves names code, which answers\.others\.0\.serves names too"),
        ([["code", "boolq-passages"]], r"names boolq-passages, which is text; a teacher serves sets of prompts"),
        ([["org/texts"]], "names org/texts, which is text, the column text"),
        ([["reasoning"]], "which holds problems, whose rationales the recipe's own teacher or a program writes"),
    ],
)
def test_what_no_other_teacher_can_serve_is_refused_when_the_recipe_is_read(serves, words):
    with pytest.raises(ValidationError, match=words):
        data(*serves)


@pytest.mark.parametrize("sets", [OTHER_KINDS[:2], OTHER_KINDS[3:]], ids=["texts", "problems"])
def test_responses_to_no_prompts_are_refused(sets):
    with pytest.raises(ValidationError, match="answers.sampled says how prompts are answered, and no set has prompts"):
        Data(sets=sets, answers={"sampled": {}})
    assert Data(sets=[*sets, PROMPTS[1]], answers={"sampled": {}}).answers.sampled is not None


@pytest.mark.parametrize(
    ("sets", "selection", "words"),
    [
        (
            PROMPTS[:1],
            {"similar_to": {"set": "nq-open", "share": 0.5}},
            "what is like nq-open, and there is no other set",
        ),
        (PROMPTS, {}, "selection asks for nothing"),
        (PROMPTS, {"weights": {}}, "selection asks for nothing"),
    ],
)
def test_a_selection_that_would_select_nothing_is_refused(sets, selection, words):
    with pytest.raises(ValidationError, match=words):
        Data(sets=sets, selection=selection)


REASONING = {"kind": "reasoning", "families": ["chain_sum", "gcd"], "tasks": 40}


@pytest.mark.parametrize("other", [{}, {"seed": 20_020, "families": ["gcd"], "tasks": 8}, {"form": "two_tasks"}])
def test_a_set_whose_tasks_an_earlier_one_has_is_refused(other):
    with pytest.raises(ValidationError, match="reasoning-2 has tasks of .* all of which reasoning has too; give"):
        Data(sets=[REASONING, REASONING | other])


@pytest.mark.parametrize(
    "other", [{"seed": 20_011 + 160}, {"families": ["word_sorting"]}, {"seed": 20_030, "families": ["gcd"]}]
)
def test_two_sets_of_different_tasks_may_stand_beside_each_other(other):
    assert len(Data(sets=[REASONING, REASONING | other]).sets) == 2


def test_a_recipe_that_names_no_other_teacher_says_nothing_of_it():
    assert "others" not in Data(sets=PROMPTS).model_dump(mode="json")["answers"]
    assert len(data(["code"]).model_dump(mode="json")["answers"]["others"]) == 1
    assert Data.model_validate(data(["code"]).model_dump(mode="json")) == data(["code"])
