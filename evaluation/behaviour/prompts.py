"""The prompts that every model answers, read from a file of our own."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stillhouse.errors import InputError

_FILE = Path(__file__).with_name("prompts.yaml")
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Prompt:
    """What a model is asked."""

    kind: str
    """Of task, in a word."""
    prompt: str
    """What the user says."""
    system: str | None = None
    """How the model is told to behave, where it is."""


@cache
def all_prompts() -> tuple[Prompt, ...]:
    """The prompts, in the order in which they are taken."""
    return tuple(Prompt(**entry) for entry in yaml.safe_load(_FILE.read_text(encoding="utf-8")))


def spell(prompt: Prompt, tokenizer: Any) -> str:
    """Write a prompt as the model's chat template has it, or as plain text where it has none.

    Where a template knows no system role, as some do not, the user says what the system would.

    Raises:
        InputError: If the template refuses even that.
    """
    from stillhouse.data.chat import render

    whole = "\n\n".join(filter(None, (prompt.system, prompt.prompt)))
    if not tokenizer.chat_template:
        return whole
    alone = [{"role": "user", "content": whole}]
    if prompt.system is not None:
        told = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.prompt}]
        try:
            return render(tokenizer, told, answer_next=True)
        except InputError:
            return render(tokenizer, alone, answer_next=True)
    return render(tokenizer, alone, answer_next=True)
