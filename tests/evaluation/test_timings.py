"""Percentiles of times and of ratios of times, with their intervals."""

import numpy as np
import pytest

from evaluation.timings import percentile_interval, ratio_interval, relative_size


def test_the_interval_of_a_percentile_lies_between_the_samples_that_were_seen():
    assert percentile_interval([[3.0, 3.0]] * 5, 50) == (3.0, 3.0)
    assert percentile_interval([1.0, 9.0], 50) == (1.0, 9.0)
    low, high = percentile_interval([1.0] * 10 + [2.0] * 10, 95)
    assert (low, high) == (2.0, 2.0)


def test_repeats_are_drawn_whole():
    """Two repeats of other speed: drawn token by token, a median between them would be nearly sure."""
    assert percentile_interval([[1.0] * 50, [9.0] * 50], 50) == (1.0, 9.0)


def test_one_repeat_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 repeats, got 1"):
        percentile_interval([[1.0, 2.0]], 50)


def test_the_interval_of_a_ratio_holds_the_true_one_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        first, second = generator.normal(10, 1, size=(2, 20))
        low, high = ratio_interval(1.5 * first, second, 50)
        hits += low <= 1.5 <= high
    # Of 200 at 95%, binomial error makes 178 to 199 out of the ordinary once in a thousand.
    assert 178 <= hits <= 200


def test_the_two_of_a_ratio_are_drawn_apart():
    """Drawn alike, a measurement and itself would have a ratio of 1 in every draw."""
    times = list(range(1, 21))
    low, high = ratio_interval(times, times, 50)
    assert low < 0.9 and high > 1.1


def test_a_ratio_is_as_far_from_one_either_way():
    assert relative_size((1.0, 1.25)) == pytest.approx(0.25)
    assert relative_size((0.8, 1.0)) == pytest.approx(0.25)
    assert relative_size((0.8, 1.3)) == pytest.approx(0.3)
    assert relative_size((1.0, 1.0)) == 0
