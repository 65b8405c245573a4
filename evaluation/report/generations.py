"""What teacher, pruned start and student wrote for the same prompts, set side by side to be read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluation.report import words
from evaluation.report.markdown import fenced
from evaluation.report.tables import MODELS

FILE = "generations.json"
SHOWN = 8


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


def readings(inputs: Mapping[str, Path]) -> list[Reading]:
    """The first prompts, each with every model's greedy answer; empty where nothing was generated.

    Args:
        inputs: `behaviour_<model>`, folders of which each may hold `generations.json`.
    """
    written = {model: rows for model in MODELS if (rows := _rows(inputs.get(f"behaviour_{model}")))}
    prompts = list(dict.fromkeys(_asked(row) for model in ("student", *MODELS) for row in written.get(model, [])))
    found = []
    for number, prompt in enumerate(prompts[:SHOWN], start=1):
        answers = [_answer(model, row) for model, rows in written.items() if (row := _row(rows, prompt))]
        beside = tuple(answer for answer in answers if answer.model != "pruned")
        found.append(Reading(number, prompt, beside, tuple(answer for answer in answers if answer not in beside)))
    return found


def _rows(folder: Path | None) -> list[dict[str, Any]]:
    path = folder / FILE if folder is not None else None
    rows: list[dict[str, Any]] = (
        json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else []
    )
    return rows


def _row(rows: list[dict[str, Any]], prompt: str) -> dict[str, Any] | None:
    return next((row for row in rows if _asked(row) == prompt), None)


def _asked(row: Mapping[str, Any]) -> str:
    system = row.get("system")
    return f"System: {system}\n\n{row['prompt']}" if system else str(row["prompt"])


def _answer(model: str, row: Mapping[str, Any]) -> Answer:
    text = str(row["greedy"])
    remark = "" if text.strip() else "(empty)"
    if not row.get("greedy_ended", True):
        tokens = row.get("greedy_tokens")
        count = len(tokens) if isinstance(tokens, list) else tokens
        remark = f"(cut at {words.plural(count, 'token')})" if isinstance(count, int) else "(cut)"
    return Answer(model, text.strip("\n"), remark)
