"""What every kind of work of the table took on one machine in one sitting, as a file that is committed."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.techniques.rows import PLAIN_KL, ROWS

NAME = "sitting.json"
"""Of the file, in the folder of records."""
SEED = 1
"""Of every training that is timed, but for those of plain KL."""


@dataclass(frozen=True)
class Timing:
    """One training of equal tokens."""

    row: str
    seed: int
    seconds: float
    """Of all stages that the row needs and the base does not."""
    training_seconds: float
    """Of the trainings among them."""
    load: float
    """Of the machine, over the last minute."""


@dataclass(frozen=True)
class Sitting:
    """Trainings one after the other."""

    environment: dict[str, Any]
    """Processor, threads, precision, and the code's commit."""
    timings: tuple[Timing, ...] = ()

    def of(self, row: str) -> list[Timing]:
        """The timings of one row; none where another row does the same work."""
        return [timing for timing in self.timings if timing.row == row]


def to_time() -> Iterator[tuple[str, int]]:
    """Row and seed of what is timed: one row of every kind of work, plain KL before, between and after them."""
    kinds: dict[tuple[str, str], str] = {}
    for name, row in ROWS.items():
        kinds.setdefault((row.trains_as, row.prepares_as), name)
    others = [name for name in kinds.values() if name != PLAIN_KL]
    half = len(others) // 2
    yield PLAIN_KL, SEED
    yield from ((name, SEED) for name in others[:half])
    yield PLAIN_KL, SEED + 1
    yield from ((name, SEED) for name in others[half:])
    yield PLAIN_KL, SEED + 2


def write(folder: Path, sitting: Sitting) -> None:
    """Write what was timed until now."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps(asdict(sitting), indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Sitting:
    """What was timed: nothing, and nowhere, where there is no file."""
    path = folder / NAME
    if not path.is_file():
        return Sitting({})
    content = json.loads(path.read_text(encoding="utf-8"))
    return Sitting(content["environment"], tuple(Timing(**timing) for timing in content["timings"]))
