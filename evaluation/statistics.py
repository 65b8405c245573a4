"""How far a figure would move had other documents been drawn: intervals by bootstrap, exact tests, many at once.

The unit that is drawn is a document (or one repeat of a benchmark), never a token: tokens of one document
resemble each other, and an interval drawn over tokens would be too narrow. Where documents share a passage, the
passage with all its documents is the unit, a cluster. Percentile method of Efron and Tibshirani, An Introduction to
the Bootstrap (1993), chapter 13, its percentiles moved outwards as far as few units ask for (Hesterberg, 2015, The
American Statistician 69, 371-386): without, an interval over 10 documents misses the truth in 10 of 100 cases.

What is about shares of documents stands in `evaluation.paired_shares`.
"""

from collections.abc import Iterator, Mapping
from math import erfc, inf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
NORMAL = 1.96
"""Standard errors to either side that hold 95% of a normal distribution."""
RESAMPLES = 2000
FEWEST_UNITS = 5
"""With fewer, the percentiles that a bootstrap would have to be read at lie beyond all draws."""
# Numbers of draws that exist at once: 32 MB.
_BLOCK = 2**22


def bootstrap_mean_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    clusters: ArrayLike | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Return the interval of `sum(numerators) / sum(denominators)` over documents; `None` with too few to tell one.

    A mean over tokens is such a ratio (each document's total, and its number of tokens), and so is the
    ratio of two models' bits on the same documents: numerator and denominator are drawn together, so what
    makes a document hard for both models cancels.

    Args:
        numerators: One number a document.
        denominators: One number a document, none negative; documents with 0 take no part.
        seed: Decides the resamples; the same seed gives the same interval.
        clusters: One number a document, equal for documents that are drawn together.
        level: How often an interval holds the truth.
        resamples: Draws of as many units as there are.

    Raises:
        ValueError: With fewer than two units that count; one says nothing of the spread.
    """
    top, bottom = units(numerators, denominators, clusters)
    drawn = bootstrap_ratios(top, bottom, seed=seed, resamples=resamples)
    return percentile_interval(drawn, len(top), level=level)


def paired_bootstrap_interval(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """Return the interval of the mean of paired differences; see `bootstrap_mean_interval`.

    Args:
        differences: One number a document, one model's less the other's.
        clusters: One number a document, equal for documents that share a passage.
        seed: Decides the resamples.
        level: How often an interval holds the truth.
        resamples: Draws.
    """
    ones = np.ones(len(np.asarray(differences)))
    return bootstrap_mean_interval(differences, ones, seed=seed, clusters=clusters, level=level, resamples=resamples)


def bootstrap_ratios(
    top: NDArray[np.float64], bottom: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Draw units again and again, and return `sum(top) / sum(bottom)` of each draw, `[resamples]`.

    Args:
        top: One number a unit, as from `units`.
        bottom: The same.
        seed: Decides the draws.
        resamples: How many.
    """
    sums = bootstrap_sums(np.stack([top, bottom], 1), seed=seed, resamples=resamples)
    ratios: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
    return ratios


def bootstrap_sums(columns: NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Draw units again and again, and return the sum of each column in each draw, `[resamples, C]`.

    Args:
        columns: `[N, C]`, a row a unit.
        seed: Decides the draws.
        resamples: How many.
    """
    return np.concatenate([draws @ columns for draws in _draws(len(columns), seed, resamples)])


def standard_error(numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike | None = None) -> float:
    """Return the standard error of `sum(numerators) / sum(denominators)` over units, linearized.

    Cochran, Sampling Techniques (1977), section 6.3; for equal denominators that of a mean.
    """
    top, bottom = units(numerators, denominators, clusters)
    misses = top - bottom * (top.sum() / bottom.sum())
    return sqrt(len(top) / (len(top) - 1) * float(misses @ misses)) / float(bottom.sum())


def units(
    numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of each unit that is drawn: a cluster, or without clusters a document, if it counts.

    Raises:
        ValueError: With fewer than two units that count, or shapes that do not fit.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"an interval needs one pair a document, got shapes {top.shape} and {bottom.shape}")
    if clusters is not None:
        top, bottom = (by_cluster(each, clusters) for each in (top, bottom))
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    if len(top) < 2:
        what = "documents" if clusters is None else "clusters of documents"
        raise ValueError(f"an interval needs at least 2 {what} with counted tokens, got {len(top)}")
    return top, bottom


def by_cluster(values: ArrayLike, clusters: ArrayLike) -> NDArray[np.float64]:
    """Sum one number a document over each cluster, in the order of the clusters' numbers.

    Raises:
        ValueError: If there is not one cluster number a document.
    """
    numbers, groups = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if numbers.shape != groups.shape:
        raise ValueError(f"clusters must be one number a document, got {groups.shape} for {numbers.shape}")
    return np.bincount(np.unique(groups, return_inverse=True)[1], weights=numbers).astype(np.float64)


def percentile_interval(
    estimates: NDArray[np.float64], num_units: int, *, level: float = LEVEL
) -> tuple[float, float] | None:
    """Return the middle of bootstrap estimates, widened for few units; `None` where so few units prove nothing.

    A bootstrap over n units draws from their own spread, which is too small by sqrt((n - 1) / n), and knows nothing of
    the heavier tails that an unknown spread asks for; Hesterberg's percentiles make up for both. Where they lie beyond
    the outermost draws, Student's interval of the figure says how far, so that no level is taken for a lower one.
    """
    if num_units < FEWEST_UNITS:
        return None
    quantile = _student_of_normal(NormalDist().inv_cdf((1 + level) / 2), num_units - 1)
    if quantile == inf:
        return None
    reach = sqrt(num_units / (num_units - 1)) * quantile
    tail = NormalDist().cdf(-reach)
    low, high = np.quantile(estimates, [tail, 1 - tail])
    # The outermost draw stands for half a draw's share of the tail.
    if tail * len(estimates) < 0.5:
        middle, spread = float(np.mean(estimates)), float(np.std(estimates, ddof=1))
        low, high = min(low, middle - reach * spread), max(high, middle + reach * spread)
    return float(low), float(high)


def percentile_p_value(estimates: NDArray[np.float64], num_units: int) -> float:
    """Return the two-sided p-value of the figure being 0: one less the level at which its interval first reaches 0.

    Draws tell no p-value below one of their number, which Holm's factor lifts above 5% in any suite of a few dozen
    measures. Where not one draw reaches 0, Student's test of the figure over its spread says how far beyond it lies.
    """
    resamples = len(estimates)
    # Estimates on 0 count for either side: half of them each would call it too soon.
    reached = min(np.count_nonzero(estimates <= 0), np.count_nonzero(estimates >= 0))
    tail = (1 + reached) / (resamples + 1)
    if tail >= 0.5:
        return 1.0
    narrowing = sqrt((num_units - 1) / num_units)
    quantile = -NormalDist().inv_cdf(tail) * narrowing
    spread = float(np.std(estimates, ddof=1))
    if reached == 0 and spread > 0:
        quantile = max(quantile, abs(float(np.mean(estimates))) / spread * narrowing)
    # 2 (1 - Phi(x)), which a difference from 1 could not tell from 0.
    return erfc(_normal_of_student(quantile, num_units - 1) / sqrt(2))


def exact_mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value that as many documents are gained as lost in truth.

    McNemar (1947, Psychometrika 12, 153-157), the exact form: of the documents that only one model answers rightly,
    each is as likely the one's as the other's. Twice the smaller tail of the binomial; 1 where there are none.

    Args:
        gained: Documents that only this model answers rightly.
        lost: Documents that only the other does.
    """
    # Python's own whole numbers have no end.
    differs, ways, tail = int(gained) + int(lost), 1, 0
    for count in range(min(int(gained), int(lost)) + 1):
        tail += ways
        ways = ways * (differs - count) // (count + 1)
    return min(1.0, 2 * tail / 2**differs)


def exact_sign_flip(differences: ArrayLike, clusters: ArrayLike | None = None) -> float:
    """Return the two-sided p-value that whole numbers sum to 0 but for chance, each as likely of either sign.

    Over documents that only one model answers rightly this is McNemar's exact test; over clusters, it is the same where
    a passage's documents stand and fall together. All sums of signs are counted, none is drawn.

    Args:
        differences: One whole number a document.
        clusters: One number a document, equal for documents that share a passage.
    """
    found = np.asarray(differences, dtype=np.float64)
    sums = np.rint(found if clusters is None else by_cluster(found, clusters)).astype(np.int64)
    sizes = np.abs(sums[sums != 0])
    if (sizes == 1).all():
        return exact_mcnemar(*(int(np.count_nonzero(sums == way)) for way in (1, -1)))
    # Place k holds the probability that k of the total is counted as gained.
    counted = np.ones(1)
    for size in sizes:
        shifted = np.zeros(len(counted) + size)
        shifted[: len(counted)] = counted / 2
        shifted[size:] += counted / 2
        counted = shifted
    smaller = int(min(sums[sums > 0].sum(), -sums[sums < 0].sum()))
    return float(min(1.0, 2 * counted[: smaller + 1].sum()))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return each p-value as it stands among all of them.

    Holm (1979, Scandinavian Journal of Statistics 6, 65-70): the smallest is multiplied by how many there are, the next
    by one less, and none falls below one before it. Calling those below 5% a difference calls any that is none, in a
    whole suite, in at most 5% of suites, whatever ties its measures.
    """
    ordered = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _draws(count: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """How often each unit is drawn, which is all that a ratio of sums depends on, a few resamples at a time."""
    generator, chances = np.random.default_rng(seed), np.full(count, 1 / count)
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        yield generator.multinomial(count, chances, size=min(block, resamples - start))


def _student_of_normal(quantile: float, freedom: int) -> float:
    """Return Student's quantile where a normal distribution has `quantile`; infinite where few units prove nothing.

    Abramowitz and Stegun (1964), 26.7.8, solved for t: within 0.1% from 25 degrees of freedom on, too large below.
    """
    room = (1 - 1 / (4 * freedom)) ** 2 - quantile**2 / (2 * freedom)
    return quantile / sqrt(room) if room > 0 else inf


def _normal_of_student(quantile: float, freedom: int) -> float:
    """The way back from `_student_of_normal`."""
    return quantile * (1 - 1 / (4 * freedom)) / sqrt(1 + quantile**2 / (2 * freedom))
