from typing import Any

from evaluation.report.generations import SHOWN, readings


def row(prompt: str, greedy: str, *, tokens: int = 5, ended: bool = True, system: str | None = None) -> dict[str, Any]:
    return {"prompt": prompt, "system": system, "greedy": greedy, "greedy_tokens": tokens, "greedy_ended": ended}


def test_answers_to_one_prompt_stand_together_and_the_start_apart():
    written = {
        "teacher": [row("a", "A"), row("b", "B")],
        "pruned": [row("a", " ")],
        "student": [row("b", "b"), row("a", "a", tokens=64, ended=False)],
    }
    second, first = readings(written)
    assert (first.prompt, [answer.text for answer in first.answers]) == ("a", ["A", "a"])
    assert [answer.remark for answer in first.answers] == ["", "(cut at 64 tokens)"]
    assert [(answer.model, answer.remark) for answer in first.start] == [("pruned", "(empty)")]
    assert (second.prompt, second.start) == ("b", ())


def test_one_prompt_under_two_system_messages_is_two_prompts():
    rows = [row("a", "1"), row("a", "2", system="Be short.")]
    found = readings({"student": rows})
    assert [(one.prompt, one.answers[0].text) for one in found] == [("a", "1"), ("System: Be short.\n\na", "2")]


def test_only_the_first_prompts_are_shown():
    rows = [row(str(number), "x") for number in range(SHOWN + 3)]
    assert len(readings({"student": rows})) == SHOWN


def test_every_edge_case_is_shown_after_the_first_prompts_with_its_kind():
    edge = {"edge": True, "kind": "empty"}
    rows = [{**row("", "x"), **edge}] + [row(str(number), "x") for number in range(SHOWN + 3)]
    found = readings({"teacher": rows, "student": rows})
    assert len(found) == SHOWN + 1
    assert (found[-1].prompt, found[-1].kind, len(found[-1].answers)) == ("(empty)", "empty", 2)
    assert {one.kind for one in found[:-1]} == {""}


def test_of_a_very_long_prompt_both_ends_are_shown():
    (found,) = readings({"student": [row("a" * 1000 + "z" * 1000, "x")]})
    assert found.prompt == "a" * 200 + " [... 1,600 characters ...] " + "z" * 200


def test_without_generations_there_is_nothing_to_read():
    assert readings({}) == [] and readings({"student": []}) == []


def test_a_fence_holds_whatever_backticks_a_model_wrote():
    (found,) = readings({"student": [row("a", "```python\nx\n```")]})
    assert str(found.answers[0].block) == "````text\n```python\nx\n```\n````"
