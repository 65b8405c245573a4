"""Evidence: a figure, and how far it would lie elsewhere had other documents been drawn, at any level.

`results.json` holds one interval a figure; a gate has a confidence of its own, and asks here. Each function below is
one way to come by an interval; which figure takes which, `evaluation.comparison` and `evaluation.run_evidence` decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import inf, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.paired_shares import PairedTable, design_effect, pool, score_interval, wilson_interval
from evaluation.statistics import (
    FEWEST_UNITS,
    LEVEL,
    bootstrap_ratios,
    percentile_interval,
    percentile_p_value,
    standard_error,
    units,
)

Interval = tuple[float, float]
Direction = Literal["higher is better", "lower is better", "no direction"]


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Evidence:
    """A figure and what its documents prove of it."""

    value: float
    interval_at: Callable[[float], Interval | None]
    """Its interval at a two-sided level; `None` where the documents tell none, as where all are alike."""
    standard_error: float = 0.0
    """0 where the documents tell none."""
    documents: int | None = None
    """How many there are; `None` where it is no matter of documents."""
    direction: Direction = "no direction"
    p_value: Callable[[], float] | None = None
    """Two-sided, of being 0, by the same draws as the interval; `None` where it is found in another way."""
    is_alike: Callable[[], bool] = _never
    """Whether documents enough to tell an interval have none, since all of them are alike."""


def of_sums(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    clusters: ArrayLike | None = None,
    direction: Direction = "lower is better",
) -> Evidence | None:
    """Return `sum(numerators) / sum(denominators)` over documents, by bootstrap; `None` with fewer than two units.

    Args:
        numerators: One number a document.
        denominators: One number a document, none negative.
        seed: Of the resamples.
        clusters: One number a document, equal for documents that are drawn together.
        direction: Which way is better.
    """
    try:
        top, bottom = units(numerators, denominators, clusters)
    except ValueError:
        return None
    drawn = cache(partial(bootstrap_ratios, top, bottom, seed=seed))
    documents = len(np.asarray(numerators))
    # Units are clusters already.
    error = standard_error(top, bottom)
    return _of_estimates(float(top.sum() / bottom.sum()), drawn, len(top), error, documents, direction)


def of_two_ratios(
    own: tuple[ArrayLike, ArrayLike],
    other: tuple[ArrayLike, ArrayLike],
    *,
    ratio: bool,
    seed: int,
    direction: Direction = "lower is better",
) -> Evidence | None:
    """Return one model's ratio of sums less, or over, another's on the same documents; `None` with fewer than two.

    For models that count the same documents otherwise, as two tokenizers do: each has denominators of its own, and
    every draw of documents is of both.

    Args:
        own: Numerators and denominators, one a document.
        other: Those of the other model, in the same order.
        ratio: Whether the one is taken over the other, and not less it.
        seed: Of the resamples.
        direction: Which way is better.
    """
    columns = np.asarray([*own, *other], dtype=np.float64)
    columns = columns[:, (columns[1] > 0) & (columns[3] > 0)]
    documents = columns.shape[1]
    if documents < 2:
        return None

    def set_apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        return first / second if ratio else first - second

    value = float(set_apart(columns[0].sum() / columns[1].sum(), columns[2].sum() / columns[3].sum()))
    # One seed draws the same documents of both.
    drawn = [bootstrap_ratios(top, bottom, seed=seed) for top, bottom in (columns[:2], columns[2:])]
    return of_draws(value, set_apart(*drawn), num_units=documents, documents=documents, direction=direction)


def of_draws(
    value: float, drawn: NDArray[np.float64], *, num_units: int, documents: int, direction: Direction
) -> Evidence:
    """Return a figure of which bootstrap estimates are at hand.

    Args:
        value: The figure.
        drawn: `[R]` estimates.
        num_units: What each of them drew.
        documents: How many there are.
        direction: Which way is better.
    """
    return _of_estimates(value, lambda: drawn, num_units, float(np.std(drawn, ddof=1)), documents, direction)


def _of_estimates(
    value: float,
    drawn: Callable[[], NDArray[np.float64]],
    num_units: int,
    error: float,
    documents: int,
    direction: Direction,
) -> Evidence:
    def interval_at(level: float) -> Interval | None:
        bounds = percentile_interval(drawn(), num_units, level=level)
        return bounds if bounds is not None and bounds[0] < bounds[1] else None

    def p_value() -> float:
        return percentile_p_value(drawn(), num_units)

    def is_alike() -> bool:
        return num_units >= FEWEST_UNITS and float(np.ptp(drawn())) == 0

    return Evidence(value, interval_at, error, documents, direction, p_value, is_alike)


def of_tables(tables: Sequence[PairedTable], *, direction: Direction) -> Evidence:
    """Return the difference of two models' shares of documents, by Tango's score interval of all tables in one."""
    whole = pool(tables)
    return Evidence(whole.difference, partial(_score_interval, whole), sqrt(whole.variance), whole.documents, direction)


def of_share(right: ArrayLike, *, clusters: ArrayLike | None, direction: Direction) -> Evidence:
    """Return one model's share of documents, by Wilson's interval.

    Args:
        right: 1 or 0 a document.
        clusters: One number a document, equal for documents that share a passage.
        direction: Which way is better.
    """
    found = np.asarray(right, dtype=np.float64)
    effective = len(found) / design_effect(found, clusters)
    share = float(found.mean())
    # Half a document of either kind, as for paired shares: all alike is not certainty.
    spread = sqrt((share * effective + 0.5) * ((1 - share) * effective + 0.5) / (effective + 1) ** 2 / effective)
    return Evidence(share, partial(_wilson_interval, share, effective), spread, len(found), direction)


def of_interval(value: float, interval: Interval | None, *, direction: Direction) -> Evidence:
    """Return a figure of which only the 95% interval is at hand, as of a time over repeats.

    At another level each side is as much longer or shorter as a normal distribution's would be.
    """
    return Evidence(value, partial(_rescaled, value, interval), direction=direction)


def _score_interval(table: PairedTable, level: float) -> Interval:
    return score_interval(table, level=level)


def _wilson_interval(share: float, documents: float, level: float) -> Interval:
    return wilson_interval(share, documents, level=level)


def _rescaled(value: float, interval: Interval | None, level: float) -> Interval | None:
    if interval is None:
        return None
    asked, given = (NormalDist().inv_cdf((1 + each) / 2) for each in (level, LEVEL))
    low, high = (value + (bound - value) * asked / given for bound in interval)
    return low, high


def documents_needed(evidence: Evidence, limits: Sequence[float], *, confidence: float, power: float) -> int | None:
    """Return how many documents would decide on which side of its limits a figure lies, were its value the true one.

    The spread falls with the root of the number of documents; so many are needed that the bound at `confidence` comes
    to lie off the nearest limit in `power` of all draws, as in any power calculation.

    Args:
        evidence: The figure.
        limits: Finite limits, at least one.
        confidence: Of the one-sided bound.
        power: Share of draws.

    Returns:
        More than there are; `None` where the figure lies on the limit, or its documents do not tell its spread.
    """
    distance = min((abs(evidence.value - limit) for limit in limits), default=inf)
    if evidence.documents is None or not evidence.standard_error or not 0 < distance < inf:
        return None
    reach = sum(NormalDist().inv_cdf(share) for share in (confidence, power))
    times = (reach * evidence.standard_error / distance) ** 2
    needed = np.ceil(evidence.documents * times)
    # Beyond any corpus: as good as on the limit.
    return max(evidence.documents + 1, int(needed)) if needed < 1e9 else None
