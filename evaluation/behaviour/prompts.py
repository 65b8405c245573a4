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
    edge: bool = False
    """Whether it stands at the edge of what a model is made for: empty, very long, odd or adversarial."""


@cache
def all_prompts() -> tuple[Prompt, ...]:
    """The prompts, in the order in which they are taken."""
    return tuple(map(_prompt, yaml.safe_load(_FILE.read_text(encoding="utf-8"))))


def template_words(tokenizer: Any) -> str:
    """Say how prompts are put before the model: in its chat template, or in plain text where it has none."""
    return "in the chat template" if tokenizer.chat_template else "in plain text, since the model has no chat template"


def spell(prompt: Prompt, tokenizer: Any) -> str:
    """Write a prompt as the model's chat template has it, or as plain text where it has none.

    Where a template knows no system role, as some do not, the user says what the system would.

    Raises:
        InputError: If the template refuses even that.
    """
    from stillhouse.data.chat import render

    whole = "\n\n".join(filter(None, (prompt.system, prompt.prompt)))
    if not tokenizer.chat_template:
        # An empty prompt has no token, and a model goes on from at least one.
        return whole or str(tokenizer.bos_token or tokenizer.eos_token)
    alone = [{"role": "user", "content": whole}]
    if prompt.system is not None:
        told = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.prompt}]
        try:
            return render(tokenizer, told, answer_next=True)
        except InputError:
            return render(tokenizer, alone, answer_next=True)
    return render(tokenizer, alone, answer_next=True)


def _prompt(entry: dict[str, Any]) -> Prompt:
    """Read an entry; `before` stands in front of its prompt, `times` times over."""
    before = entry.pop("before", "") * entry.pop("times", 0)
    return Prompt(**entry | {"prompt": before + entry["prompt"]})
