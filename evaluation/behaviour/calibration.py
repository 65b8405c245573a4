"""Calibration: is a model as sure of its answers as they are right?

Read off what `evaluate_capability` found, so it costs nothing. A model's confidence is the probability of the choice
that it takes, over the choices of the question, scored as the benchmark's metric ranks them.

Expected calibration error: documents sorted by confidence, cut into 15 bins of equally many, and the distance of mean
confidence and accuracy averaged over the bins (Naeini et al., 2015; bins of equal mass after Nixon et al., 2019,
arXiv:1904.01685). It is never negative, so chance alone gives a small data set some; the other two measures have a
number a document, and can be compared pairwise.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from evaluation.behaviour.measures import About, Measure, joined_clusters, mean_measure
from stillhouse.errors import InputError

BINS = 15
_RESAMPLES = 500
_METHOD = (
    f"from the scored benchmarks with choices, all documents together: confidence is the softmax over a question's "
    f"choices as its metric ranks them; error over {BINS} bins of equally many documents"
)


def measure_calibration(capability: Path, *, seed: int) -> dict[str, Measure]:
    """Return expected calibration error, overconfidence and Brier score over all benchmarks that have choices.

    Args:
        capability: What `evaluate_capability` made of the model.
        seed: Of the bootstrap.

    Raises:
        InputError: If no benchmark has choices.
    """
    scores = json.loads((capability / "capability.json").read_text(encoding="utf-8")).values()
    chosen = [score for score in scores if score["confidence"] is not None]
    confidence = np.array([each for score in chosen for each in score["confidence"]], dtype=np.float64)
    correct = np.array([each for score in chosen for each in score["correct"]], dtype=np.float64)
    if not len(correct):
        raise InputError(
            "calibration is read off benchmarks with choices, and none was scored; add one to evaluation.benchmarks, "
            "or leave calibration out of evaluation.behaviour.suites"
        )
    clusters = joined_clusters([(score.get("clusters"), len(score["confidence"])) for score in chosen])
    licence = ", ".join(sorted({score["licence"] for score in chosen}))
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(correct), size=(_RESAMPLES, len(correct)))
    errors = [calibration_error(confidence[rows], correct[rows]) for rows in drawn]
    about = About("expected calibration error", "0 to 1", "lower is better", licence, _METHOD)
    gap = About("mean confidence less accuracy", "-1 to 1, even at 0", "no direction", licence, _METHOD)
    brier = About("Brier score of the chosen answers", "0 to 1", "lower is better", licence, _METHOD)
    return {
        "calibration_error": Measure(
            calibration_error(confidence, correct), float(np.std(errors, ddof=1)), len(correct), None, about
        ),
        "calibration_overconfidence": mean_measure((confidence - correct).tolist(), gap, clusters),
        "calibration_brier": mean_measure(((confidence - correct) ** 2).tolist(), brier, clusters),
    }


def calibration_error(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the distance of confidence and accuracy, averaged over bins of equally many documents.

    Args:
        confidence: [N] probability of the chosen answer.
        correct: [N] 1 where it is right.
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    order = np.argsort(sure, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    return float(sum(len(rows) * abs(sure[rows].mean() - right[rows].mean()) for rows in bins) / len(order))
