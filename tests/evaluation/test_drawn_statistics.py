"""Figures that are no means: worked out by hand, and drawn with their documents paired."""

import numpy as np
import pytest

from evaluation.drawn_statistics import (
    bootstrap_error,
    calibration_error,
    centred,
    drawn_errors_of_gaps,
    drawn_figures,
    error_of_gaps,
    statistic,
)
from evaluation.statistics import percentile_interval


def test_a_ratio_of_sums_is_one_sum_over_the_other_and_0_over_nothing():
    assert statistic("ratio of sums", [(1, 1), (1, 1), (1, 1), (-1, 1), (0, 0)]) == pytest.approx(2 * 3 / 4 - 1)
    assert statistic("ratio of sums", [(0, 0), (0, 0)]) == 0


def test_the_error_is_the_distance_of_confidence_and_accuracy_bin_by_bin():
    # Two documents, a bin each: 0.6 and wrong, 0.9 and right: (0.6 + 0.1) / 2.
    assert calibration_error([0.9, 0.6], [1, 0]) == pytest.approx(0.35)
    assert statistic("calibration error", [(0.9, 1), (0.6, 0)]) == pytest.approx(0.35)


def test_bins_hold_equally_many_documents():
    # 30 documents, 15 bins of two. In each one is right: |0.5 - 0.5| and |0.7 - 0.5|.
    confidence = [0.5] * 16 + [0.7] * 14
    assert calibration_error(confidence, [1, 0] * 15) == pytest.approx(0.2 * 14 / 30)
    # 17 documents: two bins of two, 13 of one; all sure, three wrong, in three bins: (2 * 0.5 + 2 * 0.5 + 1) / 17.
    correct = [0, 1, 0, 1, 0] + [1] * 12
    assert calibration_error(np.linspace(1, 1.0000001, 17), correct) == pytest.approx(3 / 17, abs=1e-6)


def test_a_model_that_is_right_as_often_as_it_says_has_little_error():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.25, 1, 20_000)
    right = generator.uniform(size=20_000) < confidence
    assert calibration_error(confidence, right) < 0.02
    assert calibration_error(np.ones(20_000), right) == pytest.approx(1 - right.mean())


def test_both_models_are_drawn_on_the_same_documents():
    rows = np.stack([np.random.default_rng(1).normal(size=200), np.ones(200)], 1)
    shifted = rows + [0.25, 0]
    drawn, units = drawn_figures("ratio of sums", [rows, shifted], None, seed=0)
    assert units == 200
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(0.25)
    # And each alone moves as a mean does.
    assert drawn[:, 0].std(ddof=1) == pytest.approx(rows[:, 0].std(ddof=1) / 200**0.5, rel=0.1)


def test_documents_of_one_passage_are_drawn_together():
    sides = np.repeat([1.0, -1.0] * 50, 4)
    rows, passages = np.stack([sides, np.ones(400)], 1), np.repeat(np.arange(100), 4)
    alone, together = (bootstrap_error("ratio of sums", rows, clusters, seed=0) for clusters in (None, passages))
    # A quarter as many units, each as wide apart.
    assert together == pytest.approx(2 * alone, rel=0.1)


def test_the_error_of_a_ratio_is_that_of_its_linearization():
    generator = np.random.default_rng(2)
    named = generator.uniform(size=500) < 0.6
    side = np.where(generator.uniform(size=500) < 0.7, 1.0, -1.0) * named
    ratio = side.sum() / named.sum()
    linear = np.sqrt(((side - ratio * named) ** 2).sum()) / named.sum()
    assert bootstrap_error("ratio of sums", np.stack([side, named], 1), None, seed=0) == pytest.approx(linear, rel=0.1)


def test_moved_back_an_interval_holds_the_figure_and_oftener_the_truth():
    """Documents of 8 tokens in each of 15 bins, in which a model is too sure and not sure enough in turn, by 0.01."""
    generator = np.random.default_rng(3)
    confidence, trials = (np.arange(15) + 0.5) / 15, 60
    accuracy = confidence + np.where(np.arange(15) % 2, 0.01, -0.01)
    held: dict[str, list[tuple[bool, bool]]] = {"drawn": [], "moved back": []}
    for trial in range(trials):
        gaps = 8 * confidence - generator.binomial(8, accuracy, size=(100, 15))
        tokens = np.full(100, 8 * 15)
        figure, drawn = error_of_gaps(gaps, tokens), drawn_errors_of_gaps(gaps, tokens, seed=trial)
        for name, estimates in (("drawn", drawn), ("moved back", centred(drawn, figure))):
            low, high = percentile_interval(estimates, 100) or (0.0, 0.0)
            held[name].append((low <= figure <= high, low <= 0.01 <= high))
    (figures, truths), (figures_moved, truths_moved) = (np.mean(held[name], axis=0) for name in held)
    assert figures_moved == 1 > figures
    assert truths_moved > truths + 0.3


def test_no_error_is_below_0():
    assert centred(np.array([0.01, 0.05, 0.12]), 0.02).tolist() == pytest.approx([0, 0.01, 0.08])
