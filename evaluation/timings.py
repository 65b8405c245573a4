"""Percentiles of times and how sure they are: intervals of one, and of the ratio of two.

What is drawn is a repeat with all its tokens, never a token: tokens of one repeat share the machine's mood.

Shapes: R = repeats, N = samples of a repeat, D = draws.
"""

from math import exp, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.results import Interval
from evaluation.statistics import LEVEL, RESAMPLES

SEED = 0
"""Of every interval of times: the same samples give the same bounds."""
# Of the second of two measurements, which must not be drawn as the first is.
_OTHER_SEED = 1


def percentile_interval(repeats: ArrayLike, percent: float) -> Interval:
    """Return the 95% interval of a percentile over all samples.

    By bootstrap over repeats (Efron and Tibshirani, 1993, chapter 13). For the median of 20 repeats it is a good
    interval; of a percentile that few samples lie beyond, its upper bound is the slowest that was seen.

    Args:
        repeats: `[R, N]`, or `[R]` for one sample a repeat.
        percent: 50 is the median.

    Raises:
        ValueError: With fewer than two repeats.
    """
    return _bounds(_draws(repeats, percent, SEED))


def ratio_interval(first: ArrayLike, second: ArrayLike, percent: float) -> Interval:
    """Return the 95% interval of one measurement's percentile over another's, both drawn.

    Args:
        first: `[R, N]` or `[R]`.
        second: The same of the other; it may have another number of repeats.
        percent: 50 is the median.
    """
    return _bounds(_draws(first, percent, SEED) / _draws(second, percent, _OTHER_SEED))


def relative_size(bounds: Interval) -> float:
    """Return by how much a ratio is away from 1 at most, either way: 0.05 for 1/1.05 to 1.02.

    Counted as a factor, so that it is the same for a time and for the rate that is one over it.
    """
    return exp(max(abs(log(bound)) for bound in bounds)) - 1


def _draws(repeats: ArrayLike, percent: float, seed: int) -> NDArray[np.float64]:
    """Return `[D]`: the percentile of as many repeats, drawn again and again."""
    samples = np.asarray(repeats, dtype=np.float64)
    if len(samples) < 2:
        raise ValueError(f"an interval needs at least 2 repeats, got {len(samples)}")
    drawn = np.random.default_rng(seed).integers(len(samples), size=(RESAMPLES, len(samples)))
    found: NDArray[np.float64] = np.percentile(samples[drawn].reshape(RESAMPLES, -1), percent, axis=1)
    return found


def _bounds(draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
