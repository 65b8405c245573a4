"""Calibration: is a model as sure of its answers as they are right?

Read off what `evaluate_capability` found, so it costs nothing. A model's confidence is the probability of the choice
that it takes, over the choices of the question, scored as the benchmark's metric ranks them.

Expected calibration error: documents sorted by confidence, cut into 15 bins of equally many, and the distance of mean
confidence and accuracy averaged over the bins (Naeini et al., 2015; bins of equal mass after Nixon et al., 2019,
arXiv:1904.01685). It is never negative, so chance alone gives a small data set some; the other two measures have a
number a document.
"""

import json
from pathlib import Path

import numpy as np

from evaluation.behaviour.measures import About, Measure, drawn_measure, joined_clusters, mean_measure
from evaluation.drawn_statistics import CALIBRATION_BINS
from stillhouse.errors import InputError

_METHOD = (
    f"from the scored benchmarks with choices, all documents together: confidence is the softmax over a question's "
    f"choices as its metric ranks them; error over {CALIBRATION_BINS} bins of equally many documents"
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
    about = About("expected calibration error", "0 to 1", "lower is better", licence, _METHOD)
    gap = About("mean confidence less accuracy", "-1 to 1, even at 0", "no direction", licence, _METHOD)
    brier = About("Brier score of the chosen answers", "0 to 1", "lower is better", licence, _METHOD)
    rows = list(zip(confidence.tolist(), correct.tolist(), strict=True))
    return {
        "calibration_error": drawn_measure("calibration error", rows, about, clusters, seed=seed),
        "calibration_overconfidence": mean_measure((confidence - correct).tolist(), gap, clusters),
        "calibration_brier": mean_measure(((confidence - correct) ** 2).tolist(), brier, clusters),
    }
