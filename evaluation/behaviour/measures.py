"""One figure of a model's behaviour, with what a reader must know to judge it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Direction = Literal["higher is better", "lower is better", "no direction"]


@dataclass(frozen=True)
class Measure:
    """A figure over documents."""

    value: float
    stderr: float
    """Standard error over documents."""
    n: int
    """Documents."""
    values: tuple[float, ...] | None
    """One number a document, whose mean is `value`; `None` where `value` is no mean over documents."""
    about: "About"
    """What it is."""
    clusters: tuple[int, ...] | None = None
    """Of each document the number of its group, where documents share a passage."""


@dataclass(frozen=True)
class About:
    """What a measure is."""

    description: str
    """In a few words."""
    unit: str
    """Unit or range."""
    direction: Direction
    licence: str
    """Of the data."""
    method: str
    """How it is measured, in a sentence."""


def mean_measure(values: Sequence[float], about: About, clusters: Sequence[int] | None = None) -> Measure:
    """Return the mean over documents with its standard error, the documents taken as drawn one by one."""
    numbers = np.asarray(values, dtype=np.float64)
    return Measure(
        value=float(numbers.mean()),
        stderr=float(numbers.std(ddof=1) / np.sqrt(len(numbers))),
        n=len(numbers),
        values=tuple(float(number) for number in numbers),
        about=about,
        clusters=None if clusters is None else tuple(clusters),
    )


def as_fact(measure: Measure) -> dict[str, Any]:
    """Return what `facts.json` holds of a measure."""
    return {"value": measure.value, "stderr": measure.stderr, "n": measure.n}


def as_record(measure: Measure) -> dict[str, Any]:
    """Return what `behaviour.json` holds of a measure."""
    about = measure.about
    return {
        "values": None if measure.values is None else list(measure.values),
        "clusters": None if measure.clusters is None else list(measure.clusters),
        "description": about.description,
        "unit": about.unit,
        "direction": about.direction,
        "licence": about.licence,
        "method": about.method,
    }
