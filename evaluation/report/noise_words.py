"""How the A/A noise floor is told, and what two variants differ in beyond it."""

from collections.abc import Mapping, Sequence

from evaluation.report import words
from evaluation.report.tables import Cell
from evaluation.results import Costs, NoiseFloor
from evaluation.separation import differ, floor_of, measured

NAME = "A/A noise floor"
NOTE = (
    "A/A noise floor: how far one variant, measured twice, is from itself (at 95%, by bootstrap). A difference is "
    "called one only where the intervals are apart by more."
)
SIZES = ("size_bytes",)
"""Known exactly."""


def spelled(floor: float) -> str:
    """A floor as `± 3.1%`."""
    return f"±\u00a0{words.percent(floor)}"


def floor_row(noise: NoiseFloor | None, paths: Sequence[str], *, before: int = 0) -> tuple[tuple[Cell, ...], ...]:
    """A last row of a table of variants: the floor of each of its columns; no row where none was measured.

    Args:
        noise: The run's.
        paths: Of the columns' figures within a variant; what has no floor gets an empty cell.
        before: Empty cells between the row's name and the first figure.
    """
    if noise is None:
        return ()
    return (
        (
            Cell(NAME, note=f"{noise.variant} with itself"),
            *[Cell("")] * before,
            *(_cell(noise, path) for path in paths),
        ),
    )


def _cell(noise: NoiseFloor, path: str) -> Cell:
    if path in SIZES:
        return Cell("exact", is_number=True)
    floor = noise.relative.get(path)
    return Cell("") if floor is None else Cell(spelled(floor), exact=repr(floor), is_number=True)


def are_apart(one: Costs, other: Costs, path: str, noise: NoiseFloor | None) -> bool:
    """Whether two variants may be said to differ in a figure."""
    own, its = measured(one, path), measured(other, path)
    return own is not None and its is not None and differ(own, its, floor_of(noise, path))


def not_told_apart(best: str, offered: Mapping[str, Costs], path: str, noise: NoiseFloor | None) -> list[str]:
    """The others that may be as good as the best one in a figure."""
    return [
        name for name, found in offered.items() if name != best and not are_apart(offered[best], found, path, noise)
    ]


def floor_told(noise: NoiseFloor | None, path: str) -> str:
    """`, noise floor ± 3.1%`; empty where there is none."""
    floor = floor_of(noise, path)
    return f", noise floor {spelled(floor)}" if floor else ""
