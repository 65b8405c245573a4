"""A row beside plain KL, document by document, at the same seed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.drawn_statistics import drawn_errors_of_gaps, error_of_gaps
from evaluation.statistics import FEWEST_UNITS, bootstrap_mean_interval, percentile_interval

Documents = list[dict[str, Any]]
TOTALS = {
    "held_out_loss_above_teacher_nats_per_token": "loss_nats",
    "kl_to_teacher_nats_per_token": "kl_to_teacher_nats",
    "top1_agreement_with_teacher": "top1_agreements",
}
"""The total of a document that a figure is the sum of; a loss above the teacher's differs as the losses do."""
_NAMES = ("document", "tokens", "bytes")
CALIBRATION = "calibration_error"
Difference = tuple[float, tuple[float, float]]
"""And its 95% interval over documents."""


def differences(row: Documents, reference: Documents, *, seed: int = 0) -> dict[str, Difference]:
    """Each figure of a row less that of the reference.

    Raises:
        ValueError: If they were not measured on the same documents.
    """
    if not is_same_text(row, reference):
        raise ValueError("the row and its reference were measured on different documents; run both again")
    tokens = _column(row, "tokens")
    found = differences_of_totals(row, reference, seed=seed)
    # An absolute value of sums has no total a document. One seed draws the same documents of both.
    both = [_column(one, "calibration_gaps") for one in (row, reference)]
    drawn, other = (drawn_errors_of_gaps(gaps, tokens, seed=seed) for gaps in both)
    apart = error_of_gaps(both[0], tokens) - error_of_gaps(both[1], tokens)
    found[CALIBRATION] = apart, _told(percentile_interval(drawn - other, len(tokens)))
    return found


def differences_of_totals(row: Documents, reference: Documents, *, seed: int = 0) -> dict[str, Difference]:
    """Each figure that is a sum over documents, of a row less that of the reference on the same documents."""
    tokens = _column(row, "tokens")
    found: dict[str, Difference] = {}
    for figure, total in TOTALS.items():
        totals = _column(row, total) - _column(reference, total)
        found[figure] = (float(totals.sum() / tokens.sum()), _told(bootstrap_mean_interval(totals, tokens, seed=seed)))
    return found


def is_same_text(row: Documents, reference: Documents) -> bool:
    """Whether both were measured on the same documents: as long, and as likely to the teacher.

    Answers of a teacher are text that other code may have written otherwise. Two processors give one text's loss within
    0.001 nats a token of each other.
    """
    if len(row) != len(reference):
        return False
    return all(
        [one[name] for name in _NAMES] == [other[name] for name in _NAMES]
        and abs(one["teacher_loss_nats"] - other["teacher_loss_nats"]) <= 1e-3 * one["tokens"]
        for one, other in zip(row, reference, strict=True)
    )


def _told(bounds: tuple[float, float] | None) -> tuple[float, float]:
    if bounds is None:
        raise ValueError(f"fewer than {FEWEST_UNITS} documents tell no interval; raise data.held_out_tokens")
    return bounds


def _column(documents: Documents, name: str) -> NDArray[np.float64]:
    return np.array([document[name] for document in documents], dtype=np.float64)
