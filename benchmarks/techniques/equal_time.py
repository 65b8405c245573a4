"""How much text and how many steps a row has in the wall time of plain KL."""

from pathlib import Path
from typing import Any

import yaml

from benchmarks.techniques.record import Record, read_row
from benchmarks.techniques.rows import PLAIN_KL, changes_of, merged

_SCALED = ("steps", "train_tokens")
"""What grows with the time that a training may take."""
_LEAST = 0.1
"""Of a row's training, where all that comes before it takes plain KL's time already."""
AS_FAST = 0.1
"""A row within this share of plain KL's time is as fast as it: what else a machine does moves the least of a few
timings by about as much."""


def changes_in_equal_time(row: str, base: Path, out: Path) -> dict[str, Any]:
    """What a row lays over the base in the view of equal time: text and steps as plain KL's time allows.

    Its speed is told by its trainings of equal tokens, on the processor that has most of both its and plain KL's. Of
    several the fastest counts, since whatever else a machine does only adds to it. A row that is as fast as plain KL
    has what it had there. What one seed had, the others have, whatever was timed meanwhile.

    Raises:
        ValueError: If no record tells the speed, or none on a processor that plain KL was trained on.
    """
    content = yaml.safe_load(base.read_text(encoding="utf-8"))
    changes = changes_of(row)
    whole = merged({"data": {"train_tokens": content["data"]["train_tokens"]}}, changes)
    factor = _factor_of_before(row, whole, out)
    if factor is None:
        own, plain = _fastest(row, PLAIN_KL, out)
        if abs(plain["seconds"] / own["seconds"] - 1) <= AS_FAST:
            return changes
        # What comes before the training, as sampling or a cut between, takes what it takes.
        left = plain["seconds"] - (own["seconds"] - own["training_seconds"])
        factor = max(left / own["training_seconds"], _LEAST)
    return changes if factor == 1 else scaled(whole, factor)


def _factor_of_before(row: str, whole: dict[str, Any], out: Path) -> float | None:
    """How much text another seed has in this view, of that of equal tokens; `None` where none was trained."""
    before = [record for record in read_row(out, row) if record.view == "time"]
    if not before:
        return None
    told = before[0].changes.get("data", {}).get("train_tokens", whole["data"]["train_tokens"])
    return float(told / whole["data"]["train_tokens"])


def _fastest(row: str, reference: str, out: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What a training of each took where it took least, both on one processor."""
    own, other = (_by_processor(out, name) for name in (row, reference))
    both = own.keys() & other.keys()
    if not both:
        raise ValueError(
            f"{row} was timed on {', '.join(own)} and {reference} on {', '.join(other)}, so their seconds are no "
            f"ratio; train either on a processor of the other's, with another seed or after deleting its record"
        )
    on = max(both, key=lambda name: (min(len(own[name]), len(other[name])), name))
    fastest, reference_cost = (
        min((record.cost for record in found[on]), key=lambda cost: cost["seconds"]) for found in (own, other)
    )
    return fastest, reference_cost


def _by_processor(out: Path, row: str) -> dict[str, list[Record]]:
    """A row's trainings of equal tokens."""
    found: dict[str, list[Record]] = {}
    for record in read_row(out, row):
        if record.view == "tokens":
            found.setdefault(record.environment["processor"], []).append(record)
    if not found:
        raise ValueError(f"{row} has no record of equal tokens, which tells its speed; do it first")
    return found


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
