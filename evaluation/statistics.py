"""Intervals by bootstrap: how far a figure would move had other documents, or other repeats, been drawn.

The unit that is drawn is a document (or one repeat of a benchmark), never a token: tokens of one document
resemble each other, and an interval drawn over tokens would be too narrow. Percentile method of Efron and
Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
NORMAL = 1.96
"""Standard errors to either side that hold 95% of a normal distribution."""


def bootstrap_mean_interval(
    numerators: ArrayLike, denominators: ArrayLike, *, seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """Return the 95% interval of `sum(numerators) / sum(denominators)` over documents.

    A mean over tokens is such a ratio (each document's total, and its number of tokens), and so is the
    ratio of two models' bits on the same documents: numerator and denominator are drawn together, so what
    makes a document hard for both models cancels.

    Args:
        numerators: One number a document.
        denominators: One number a document, none negative; documents with 0 take no part.
        seed: Decides the resamples; the same seed gives the same interval.
        resamples: Draws of as many documents as there are.

    Raises:
        ValueError: With fewer than two documents that count; one document says nothing of the spread.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"an interval needs one pair a document, got shapes {top.shape} and {bottom.shape}")
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    if len(top) < 2:
        raise ValueError(f"an interval needs at least 2 documents with counted tokens, got {len(top)}")
    # How often each document is drawn is all that a ratio of sums depends on.
    draws = np.random.default_rng(seed).multinomial(len(top), np.full(len(top), 1 / len(top)), size=resamples)
    return _middle((draws @ top) / (draws @ bottom))


def bootstrap_median_interval(repeats: ArrayLike, *, seed: int, resamples: int = 2000) -> tuple[float, float]:
    """Return the 95% interval of the median over all samples, drawn by whole repeats.

    Args:
        repeats: `[R, N]`, or `[R]` for one sample a repeat: row r holds the samples of repeat r.
        seed: Decides the resamples.
        resamples: Draws of R repeats.

    Raises:
        ValueError: With fewer than two repeats.
    """
    samples = np.asarray(repeats, dtype=np.float64)
    if len(samples) < 2:
        raise ValueError(f"an interval needs at least 2 repeats, got {len(samples)}")
    drawn = np.random.default_rng(seed).integers(len(samples), size=(resamples, len(samples)))
    return _middle(np.median(samples[drawn].reshape(resamples, -1), axis=1))


def _middle(estimates: NDArray[np.float64]) -> tuple[float, float]:
    """Return the bounds that hold the middle 95% of the estimates."""
    low, high = np.quantile(estimates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
