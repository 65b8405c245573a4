import json
from pathlib import Path
from typing import Any

from evaluation.report.generations import SHOWN, readings


def row(prompt: str, greedy: str, *, tokens: int = 5, ended: bool = True, system: str | None = None) -> dict[str, Any]:
    return {"prompt": prompt, "system": system, "greedy": greedy, "greedy_tokens": tokens, "greedy_ended": ended}


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "generations.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_answers_to_one_prompt_stand_together_and_the_start_apart(tmp_path: Path):
    inputs = {
        "behaviour_teacher": written(tmp_path / "t", [row("a", "A"), row("b", "B")]),
        "behaviour_student": written(tmp_path / "s", [row("b", "b"), row("a", "a", tokens=64, ended=False)]),
        "behaviour_pruned": written(tmp_path / "p", [row("a", " ")]),
    }
    second, first = readings(inputs)
    assert (first.prompt, [answer.text for answer in first.answers]) == ("a", ["A", "a"])
    assert [answer.remark for answer in first.answers] == ["", "(cut at 64 tokens)"]
    assert [(answer.model, answer.remark) for answer in first.start] == [("pruned", "(empty)")]
    assert (second.prompt, second.start) == ("b", ())


def test_one_prompt_under_two_system_messages_is_two_prompts(tmp_path: Path):
    rows = [row("a", "1"), row("a", "2", system="Be short.")]
    found = readings({"behaviour_student": written(tmp_path / "s", rows)})
    assert [(one.prompt, one.answers[0].text) for one in found] == [("a", "1"), ("System: Be short.\n\na", "2")]


def test_only_the_first_prompts_are_shown(tmp_path: Path):
    rows = [row(str(number), "x") for number in range(SHOWN + 3)]
    assert len(readings({"behaviour_student": written(tmp_path / "s", rows)})) == SHOWN


def test_without_generations_there_is_nothing_to_read(tmp_path: Path):
    assert readings({}) == [] and readings({"behaviour_student": tmp_path}) == []


def test_a_fence_holds_whatever_backticks_a_model_wrote(tmp_path: Path):
    (found,) = readings({"behaviour_student": written(tmp_path / "s", [row("a", "```python\nx\n```")])})
    assert str(found.answers[0].block) == "````text\n```python\nx\n```\n````"
