"""What one row, seed and view of the table found, as a file that is committed."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

View = Literal["tokens", "time"]
"""Equal training tokens, or equal wall time of all that the technique needs beyond data and start."""


@dataclass(frozen=True)
class Record:
    """One training, and what came of it."""

    row: str
    view: View
    seed: int | None
    """Decides the order of the data; `None` for the start, which is not trained."""
    key: str
    """The store's key of the student: what went in, code included."""
    changes: dict[str, Any]
    """What was laid over the base recipe."""
    figures: dict[str, dict[str, Any]]
    """By split: those of `evaluation.results.ModelFigures`."""
    documents: list[dict[str, Any]]
    """Totals of each held-out document, for paired intervals."""
    cost: dict[str, float]
    """`tokens` and `steps` trained, `seconds` of all stages that this row needs and the base does not,
    `training_seconds` of the trainings among them, `peak_memory_bytes`, `load` of the machine."""
    environment: dict[str, Any]
    """Processor, threads, precision, and the code's commit."""


def path_of(folder: Path, row: str, view: View, seed: int | None) -> Path:
    """Where a record lies: a folder a row."""
    name = "".join(letter if letter.isalnum() else "-" for letter in row.lower())
    while "--" in name:
        name = name.replace("--", "-")
    return folder / name.strip("-") / (f"{view}.json" if seed is None else f"{view}-{seed}.json")


def write(folder: Path, record: Record) -> None:
    """Write a record where `path_of` says."""
    path = path_of(folder, record.row, record.view, record.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A line each: the documents' totals alone would be a thousand lines.
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in asdict(record).items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_all(folder: Path) -> Iterator[Record]:
    """Every record of a folder."""
    for path in sorted(folder.glob("*/*.json")):
        yield Record(**json.loads(path.read_text(encoding="utf-8")))


def read_row(folder: Path, row: str) -> list[Record]:
    """The records of one row, view after view and seed after seed."""
    paths = sorted(path_of(folder, row, "tokens", 0).parent.glob("*.json"))
    return [Record(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def key_of(folder: Path, row: str, view: View, seed: int | None) -> str:
    """The key that a record has; empty where there is none."""
    path = path_of(folder, row, view, seed)
    return str(json.loads(path.read_text(encoding="utf-8"))["key"]) if path.is_file() else ""
