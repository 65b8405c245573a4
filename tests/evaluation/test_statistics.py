import numpy as np
import pytest

from evaluation.statistics import bootstrap_mean_interval, bootstrap_median_interval


def test_documents_that_are_all_alike_have_an_interval_of_no_width():
    low, high = bootstrap_mean_interval([2.0] * 20, [4.0] * 20, seed=0)
    assert low == high == 0.5


def test_the_interval_of_equal_sized_documents_is_the_one_that_scipy_finds():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(5, 2, size=80)
    found = bootstrap_mean_interval(values, np.ones(80), seed=1, resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.03)


def test_two_models_that_differ_by_a_constant_factor_have_an_exact_ratio():
    nats = np.random.default_rng(0).gamma(2, 100, size=30)
    assert bootstrap_mean_interval(1.1 * nats, nats, seed=5) == pytest.approx((1.1, 1.1))


def test_long_documents_weigh_by_their_length():
    low, high = bootstrap_mean_interval([100.0, 0.0], [100.0, 1.0], seed=0)
    # Of two draws, a quarter is twice the first, a quarter twice the second, half one of each.
    assert (low, high) == (0.0, 1.0)


def test_documents_without_counted_tokens_take_no_part():
    with_empty = bootstrap_mean_interval([1.0, 0.0, 3.0], [2.0, 0.0, 4.0], seed=7)
    assert with_empty == bootstrap_mean_interval([1.0, 3.0], [2.0, 4.0], seed=7)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    first = bootstrap_mean_interval(values, np.ones(50), seed=11)
    assert first == bootstrap_mean_interval(values, np.ones(50), seed=11)
    assert first != bootstrap_mean_interval(values, np.ones(50), seed=12)


def test_a_single_document_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 documents with counted tokens, got 1"):
        bootstrap_mean_interval([1.0, 0.0], [3.0, 0.0], seed=0)


def test_about_95_of_100_intervals_hold_the_true_mean():
    generator = np.random.default_rng(0)
    samples = generator.normal(1.0, 1.0, size=(600, 60))
    intervals = [bootstrap_mean_interval(row, np.ones(60), seed=1, resamples=300) for row in samples]
    assert 0.91 < np.mean([low <= 1.0 <= high for low, high in intervals]) < 0.97


def test_the_median_is_drawn_by_whole_repeats():
    # One slow repeat in three: by samples the median hardly moves, by repeats it can be the slow one.
    repeats = [[1.0] * 9, [1.0] * 9, [9.0] * 9]
    assert bootstrap_median_interval(repeats, seed=0) == (1.0, 9.0)


def test_the_median_of_one_repeat_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 repeats"):
        bootstrap_median_interval([[1.0, 2.0]], seed=0)
