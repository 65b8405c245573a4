"""How much text and how many steps a row has in the wall time of plain KL."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.techniques.rows import PLAIN_KL, ROWS, changes_of, merged
from benchmarks.techniques.timings import Timing, read

_SCALED = ("steps", "train_tokens")
"""What grows with the time that a training may take."""
LEAST = 0.1
"""Of a row's training, where all that comes before it takes plain KL's time already."""
AS_FAST = 0.1
"""A row within this share of plain KL's time is as fast as it: what else a machine does moves a timing by about as
much."""


def changes_in_equal_time(row: str, base: Path, out: Path) -> dict[str, Any]:
    """What a row lays over the base in the view of equal time: text and steps as plain KL's time allows.

    A row that is as fast as plain KL has what it has with equal tokens.

    Raises:
        ValueError: If the row's work or plain KL's was not timed.
    """
    content = yaml.safe_load(base.read_text(encoding="utf-8"))
    changes = changes_of(row)
    factor = share_of(row, read(out).timings)
    if factor == 1:
        return changes
    return scaled(merged({"data": {"train_tokens": content["data"]["train_tokens"]}}, changes), factor)


def share_of(row: str, timings: Sequence[Timing]) -> float:
    """How much of its text a row can train on in plain KL's time."""
    plain, own, before = plain_seconds(timings), _training_seconds(row, timings), _seconds_before(row, timings)
    if abs(plain / (before + own) - 1) <= AS_FAST:
        return 1.0
    # What comes before the training, as sampling or a cut between, takes what it takes.
    return max((plain - before) / own, LEAST)


def plain_seconds(timings: Sequence[Timing]) -> float:
    """The time that every row has, in seconds."""
    return _training_seconds(PLAIN_KL, timings)


def _training_seconds(row: str, timings: Sequence[Timing]) -> float:
    """Of the trainings that do the row's work."""
    alike = [each for each in timings if ROWS[each.row].trains_as == ROWS[row].trains_as]
    return _middle([each.training_seconds for each in alike], row)


def _seconds_before(row: str, timings: Sequence[Timing]) -> float:
    """Of what is made before trainings that make what the row does."""
    alike = [each for each in timings if ROWS[each.row].prepares_as == ROWS[row].prepares_as]
    return _middle([each.seconds - each.training_seconds for each in alike], row)


def _middle(seconds: Sequence[float], row: str) -> float:
    if not seconds:
        raise ValueError(f"the work of {row} was not timed; run python -m benchmarks.techniques.sitting")
    return median(seconds)


def scaled(content: Any, factor: float) -> Any:
    """Multiply every number of steps or training tokens, however deep it lies."""
    match content:
        case dict():
            return {
                key: max(1, round(value * factor))
                if key in _SCALED and isinstance(value, int)
                else scaled(value, factor)
                for key, value in content.items()
            }
        case list() | tuple():
            return [scaled(each, factor) for each in content]
        case _:
            return content
