"""A row beside plain KL, document by document, at the same seed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.statistics import FEWEST_UNITS, RESAMPLES, bootstrap_mean_interval, percentile_interval

Documents = list[dict[str, Any]]
TOTALS = {
    "held_out_loss_above_teacher_nats_per_token": "loss_nats",
    "kl_to_teacher_nats_per_token": "kl_to_teacher_nats",
    "top1_agreement_with_teacher": "top1_agreements",
}
"""The total of a document that a figure is the sum of; a loss above the teacher's differs as the losses do."""
CALIBRATION = "calibration_error"
Difference = tuple[float, tuple[float, float]]
"""And its 95% interval over documents."""


def differences(row: Documents, reference: Documents, *, seed: int = 0) -> dict[str, Difference]:
    """Each figure of a row less that of the reference.

    Raises:
        ValueError: If they were not measured on the same documents.
    """
    names = [document["document"] for document in row]
    if names != [document["document"] for document in reference]:
        raise ValueError("the row and its reference were measured on different documents; run both again")
    tokens = _column(row, "tokens")
    found: dict[str, Difference] = {}
    for figure, total in TOTALS.items():
        apart = _column(row, total) - _column(reference, total)
        found[figure] = (float(apart.sum() / tokens.sum()), _told(bootstrap_mean_interval(apart, tokens, seed=seed)))
    found[CALIBRATION] = _calibration(_column(row, "calibration_gaps"), _column(reference, "calibration_gaps"), tokens)
    return found


def _calibration(row: NDArray[np.float64], other: NDArray[np.float64], tokens: NDArray[np.float64]) -> Difference:
    """An absolute value of sums has no total a document, so both errors are worked out anew in every draw."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(tokens), size=(RESAMPLES, len(tokens)))

    def apart(at: NDArray[np.int64]) -> float:
        return _error(row[at], tokens[at]) - _error(other[at], tokens[at])

    estimates = np.array([apart(each) for each in drawn])
    return apart(np.arange(len(tokens))), _told(percentile_interval(estimates, len(tokens)))


def _told(bounds: tuple[float, float] | None) -> tuple[float, float]:
    if bounds is None:
        raise ValueError(f"fewer than {FEWEST_UNITS} documents tell no interval; raise data.held_out_tokens")
    return bounds


def _error(gaps: NDArray[np.float64], tokens: NDArray[np.float64]) -> float:
    return float(np.abs(gaps.sum(axis=0)).sum() / tokens.sum())


def _column(documents: Documents, name: str) -> NDArray[np.float64]:
    return np.array([document[name] for document in documents], dtype=np.float64)
