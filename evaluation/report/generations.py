"""What teacher, pruned start and student wrote for the same prompts, set side by side to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evaluation.report import words
from evaluation.report.markdown import fenced

FILE = "generations.json"
SHOWN = 8
"""Ordinary prompts; edge cases are all shown."""
LONGEST = 400
"""Characters of a prompt that are shown."""
Row = Mapping[str, Any]
"""A prompt with one model's answers to it, an entry of `FILE`."""


@dataclass(frozen=True)
class Answer:
    """One model's greedy answer to a prompt."""

    model: str
    text: str
    remark: str
    """Whether it was cut, or is empty; else nothing."""

    @property
    def block(self) -> Markup:
        """The answer as a fenced block of Markdown."""
        return fenced(self.text, "text")


@dataclass(frozen=True)
class Reading:
    """A prompt with the answers to it."""

    number: int
    prompt: str
    """What was asked, after the system message where there was one."""
    answers: tuple[Answer, ...]
    """The teacher's and the student's, as far as there are any."""
    start: tuple[Answer, ...]
    """The pruned start's, or nothing."""
    kind: str = ""
    """What makes it an edge case, where it is one."""

    @property
    def block(self) -> Markup:
        """The prompt as a fenced block of Markdown."""
        return fenced(self.prompt, "text")


def readings(written: Mapping[str, Sequence[Row]]) -> list[Reading]:
    """The first prompts and every edge case, each with every model's greedy answer; empty where nothing was generated.

    Args:
        written: Content of `generations.json` of each model that wrote, in the order in which they are shown.
    """
    asked = {_asked(row): row for model in ("student", *written) for row in written.get(model, ())}
    edges = [prompt for prompt, row in asked.items() if row.get("edge")]
    prompts = [prompt for prompt in asked if prompt not in edges][:SHOWN] + edges
    found = []
    for number, prompt in enumerate(prompts, start=1):
        answers = [_answer(model, row) for model, rows in written.items() if (row := _row(rows, prompt))]
        beside = tuple(answer for answer in answers if answer.model != "pruned")
        start = tuple(answer for answer in answers if answer not in beside)
        kind = str(asked[prompt]["kind"]) if prompt in edges else ""
        found.append(Reading(number, _shown(prompt), beside, start, kind))
    return found


def _shown(prompt: str) -> str:
    """The prompt as it is printed: an empty one is said to be, a very long one keeps its two ends."""
    if not prompt.strip():
        return "(empty)"
    if len(prompt) <= LONGEST:
        return prompt
    half = LONGEST // 2
    left_out = words.number(len(prompt) - 2 * half)
    return f"{prompt[:half]} [... {left_out} characters ...] {prompt[-half:]}"


def _row(rows: Sequence[Row], prompt: str) -> Row | None:
    return next((row for row in rows if _asked(row) == prompt), None)


def _asked(row: Row) -> str:
    system = row.get("system")
    return f"System: {system}\n\n{row['prompt']}" if system else str(row["prompt"])


def _answer(model: str, row: Row) -> Answer:
    text = str(row["greedy"])
    remark = "" if text.strip() else "(empty)"
    if not row["greedy_ended"]:
        remark = f"(cut at {words.plural(row['greedy_tokens'], 'token')})"
    return Answer(model, text.strip("\n"), remark)
