"""One figure of a model's behaviour, with what a reader must know to judge it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluation.drawn_statistics import Statistic, bootstrap_error, statistic
from evaluation.statistics import standard_error

Direction = Literal["higher is better", "lower is better", "no direction"]


@dataclass(frozen=True)
class Measure:
    """A figure over documents."""

    value: float
    stderr: float
    """Standard error over documents, or over the passages that they share."""
    n: int
    """Documents."""
    values: tuple[float, ...] | None
    """One number a document, whose mean is `value`; `None` where `value` is no mean over documents."""
    about: "About"
    """What it is."""
    clusters: tuple[int, ...] | None = None
    """Of each document the number of its group, where documents share a passage."""
    statistic: Statistic | None = None
    """How `value` comes out of `rows`, where it is no mean over documents."""
    rows: tuple[tuple[float, float], ...] | None = None
    """Two numbers a document."""
    cut: int = 0
    """Requests behind it of which the model could not read the beginning."""


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


def mean_measure(
    values: Sequence[float], about: About, clusters: Sequence[int] | None = None, *, cut: int = 0
) -> Measure:
    """Return the mean over documents with its standard error, over clusters where documents share a passage."""
    numbers = np.asarray(values, dtype=np.float64)
    alone = clusters is None or len(set(clusters)) < 2
    return Measure(
        value=float(numbers.mean()),
        stderr=standard_error(numbers, np.ones(len(numbers)), None if alone else clusters),
        n=len(numbers),
        values=tuple(float(number) for number in numbers),
        about=about,
        clusters=None if clusters is None else tuple(clusters),
        cut=cut,
    )


def drawn_measure(
    kind: Statistic, rows: Sequence[tuple[float, float]], about: About, clusters: Sequence[int] | None, *, seed: int
) -> Measure:
    """Return a figure that is no mean over documents, its standard error drawn over them or their clusters."""
    return Measure(
        value=statistic(kind, rows),
        stderr=bootstrap_error(kind, rows, clusters, seed=seed),
        n=len(rows),
        values=None,
        about=about,
        clusters=None if clusters is None else tuple(clusters),
        statistic=kind,
        rows=tuple(rows),
    )


def joined_clusters(groups: Sequence[tuple[Sequence[int] | None, int]]) -> list[int] | None:
    """Number the groups of several benchmarks through; a document without one is a group of its own."""
    if all(clusters is None for clusters, _ in groups):
        return None
    joined: list[int] = []
    for clusters, count in groups:
        start = max(joined, default=-1) + 1
        joined += [start + number for number in (clusters if clusters is not None else range(count))]
    return joined


def as_fact(measure: Measure) -> dict[str, Any]:
    """Return what `facts.json` holds of a measure."""
    return {"value": measure.value, "stderr": measure.stderr, "n": measure.n, "cut": measure.cut}


def as_record(measure: Measure) -> dict[str, Any]:
    """Return what `behaviour.json` holds of a measure."""
    about, rows = measure.about, measure.rows
    drawn = {} if rows is None else {"statistic": measure.statistic, "rows": [list(row) for row in rows]}
    return {
        "values": None if measure.values is None else list(measure.values),
        "clusters": None if measure.clusters is None else list(measure.clusters),
        **drawn,
        "cut": measure.cut,
        "description": about.description,
        "unit": about.unit,
        "direction": about.direction,
        "licence": about.licence,
        "method": about.method,
    }
