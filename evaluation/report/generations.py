"""What teacher, pruned start and student wrote for the same prompts, set side by side to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evaluation.report import words
from evaluation.report.markdown import fenced

FILE = "generations.json"
SHOWN = 8
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

    @property
    def block(self) -> Markup:
        """The prompt as a fenced block of Markdown."""
        return fenced(self.prompt, "text")


def readings(written: Mapping[str, Sequence[Row]]) -> list[Reading]:
    """The first prompts, each with every model's greedy answer; empty where nothing was generated.

    Args:
        written: Content of `generations.json` of each model that wrote, in the order in which they are shown.
    """
    prompts = list(dict.fromkeys(_asked(row) for model in ("student", *written) for row in written.get(model, ())))
    found = []
    for number, prompt in enumerate(prompts[:SHOWN], start=1):
        answers = [_answer(model, row) for model, rows in written.items() if (row := _row(rows, prompt))]
        beside = tuple(answer for answer in answers if answer.model != "pruned")
        found.append(Reading(number, prompt, beside, tuple(answer for answer in answers if answer not in beside)))
    return found


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
