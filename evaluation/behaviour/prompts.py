"""The prompts that every model answers, read from a file of our own."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

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

    Raises:
        InputError: If the template refuses the prompt.
    """
    from stillhouse.data.chat import render

    if not tokenizer.chat_template:
        return "\n\n".join(filter(None, (prompt.system, prompt.prompt)))
    system = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    return render(tokenizer, [*system, {"role": "user", "content": prompt.prompt}], answer_next=True)
