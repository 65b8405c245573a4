"""How much text and how many steps a row has in the wall time of plain KL."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.techniques.record import Record, read_all, read_row
from benchmarks.techniques.rows import PLAIN_KL, ROWS, changes_of, merged

TOLD_ON = "share_told_on"
"""Of a record's environment in this view: the processor whose timings told how much text its row has."""
_SCALED = ("steps", "train_tokens")
"""What grows with the time that a training may take."""
LEAST = 0.1
"""Of a row's training, where all that comes before it takes plain KL's time already."""
AS_FAST = 0.1
"""A row within this share of plain KL's time is as fast as it: what else a machine does moves the least of two or three
timings, which is all that a row has whose steps are no other's, by about as much."""
_Timed = dict[str, list[Record]]
"""Trainings of equal tokens on one processor, by row."""


def changes_in_equal_time(row: str, base: Path, out: Path) -> dict[str, Any]:
    """What a row lays over the base in the view of equal time: text and steps as plain KL's time allows.

    Its speed is told by the trainings of equal tokens on the processor that has most of them. A row that is as fast as
    plain KL has what it had there. What one seed had, the others have, whatever was timed meanwhile.

    Raises:
        ValueError: If the row or plain KL was not timed there.
    """
    content = yaml.safe_load(base.read_text(encoding="utf-8"))
    changes = changes_of(row)
    whole = merged({"data": {"train_tokens": content["data"]["train_tokens"]}}, changes)
    factor = _factor_of_before(row, whole, out)
    if factor is None:
        factor = _factor(row, _timed(out))
    return changes if factor == 1 else scaled(whole, factor)


def where_told(row: str, out: Path) -> str:
    """The processor whose timings tell how much text a row has: by now another one may have most of them."""
    before = _before(row, out)
    return str(before[0].environment[TOLD_ON]) if before else processor_with_most(read_all(out))


def _before(row: str, out: Path) -> list[Record]:
    """What other seeds had in this view."""
    return [record for record in read_row(out, row) if record.view == "time"]


def _factor_of_before(row: str, whole: dict[str, Any], out: Path) -> float | None:
    """How much text another seed has in this view, of that of equal tokens; `None` where none was trained."""
    before = _before(row, out)
    if not before:
        return None
    told = before[0].changes.get("data", {}).get("train_tokens", whole["data"]["train_tokens"])
    return float(told / whole["data"]["train_tokens"])


def _timed(out: Path) -> _Timed:
    """The trainings on the processor that has most: seconds of two processors are no ratio."""
    records = list(read_all(out))
    most = processor_with_most(records)
    found: _Timed = {}
    for record in records:
        if record.view == "tokens" and record.row in ROWS and record.environment["processor"] == most:
            found.setdefault(record.row, []).append(record)
    return found


def processor_with_most(records: Iterable[Record]) -> str:
    """The processor on which most trainings of equal tokens were done; empty where there is none."""
    trained = Counter(
        record.environment["processor"] for record in records if record.view == "tokens" and record.row in ROWS
    )
    return max(trained, key=lambda name: (trained[name], name), default="")


def _factor(row: str, timed: _Timed) -> float:
    """How much of its text a row can train on in plain KL's time."""
    missing = [name for name in (row, PLAIN_KL) if name not in timed]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)}: no training of equal tokens on the processor that has most of the table's; "
            "train it there, with another seed or after deleting a record"
        )
    plain, own = _training_seconds(PLAIN_KL, timed), _training_seconds(row, timed)
    before = _seconds_before(row, timed)
    if abs(plain / (before + own) - 1) <= AS_FAST:
        return 1.0
    # What comes before the training, as sampling or a cut between, takes what it takes.
    return max((plain - before) / own, LEAST)


def _training_seconds(row: str, timed: _Timed) -> float:
    """The middle one of the rows that do its work, each at its fastest: whatever else a machine does only adds."""
    alike = [records for name, records in timed.items() if ROWS[name].trains_as == ROWS[row].trains_as]
    return median(min(record.cost["training_seconds"] for record in records) for records in alike)


def _seconds_before(row: str, timed: _Timed) -> float:
    """The least of what rows took that make the same before they are trained."""
    alike = [records for name, records in timed.items() if ROWS[name].prepares_as == ROWS[row].prepares_as]
    costs = [record.cost for records in alike for record in records]
    return min(cost["seconds"] - cost["training_seconds"] for cost in costs)


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
