"""What a trace is, and what each family does with one: write its steps, and check them line by line.

A step is a line. A check follows what the trace itself says: a step is right if what it states is true and it goes on
from the line before it as that line stands there. So one slip that is carried on rightly counts once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Metadata = dict[str, Any]
"""What the generator tells of a task."""


@dataclass(frozen=True)
class Checked:
    """Whether each line of a rationale is right."""

    right: tuple[bool, ...]
    """By line."""
    complete: bool
    """Whether the last line has come to the end of the task."""

    @property
    def sound(self) -> bool:
        """Whether every step is right and none is missing."""
        return self.complete and all(self.right)


@dataclass(frozen=True)
class Trace:
    """A rationale and the answer that it ends with."""

    steps: tuple[str, ...]
    answer: str | None
    """`None` where none is stated."""


_ANSWER = "Answer:"


def spell(steps: Sequence[str], answer: str) -> str:
    """A trace as text: a step a line, and the answer on the last."""
    return "\n".join([*steps, f"{_ANSWER} {answer}"])


def read(text: str) -> Trace:
    """Read a trace: the lines up to the first that states an answer; what follows it says nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        if line.casefold().startswith(_ANSWER.casefold()):
            return Trace(tuple(lines[:place]), line[len(_ANSWER) :].strip())
    return Trace(tuple(lines), None)
