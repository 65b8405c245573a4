import numpy as np
import pytest

from evaluation.statistics import (
    bootstrap_mean_interval,
    bootstrap_ratios,
    exact_mcnemar,
    exact_sign_flip,
    holm,
    paired_bootstrap_interval,
    percentile_p_value,
    standard_error,
)


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
    # All but the first are a hundredth as long: the ratio is near the first's wherever it is drawn, 98 times in 100.
    top, bottom = [100.0] + [0.0] * 9, [100.0] + [1.0] * 9
    drawn = bootstrap_ratios(np.array(top), np.array(bottom), seed=0)
    assert np.quantile(drawn, 0.5) > 0.9 and drawn.min() == 0.0


@pytest.mark.parametrize("count", [2, 3, 4])
def test_so_few_documents_have_no_interval(count):
    assert bootstrap_mean_interval(np.arange(count), np.ones(count), seed=0) is None
    assert bootstrap_mean_interval(np.arange(5.0), np.ones(5), seed=0) is not None
    # What five documents prove at 95% they do not prove at 99.9%.
    assert bootstrap_mean_interval(np.arange(5.0), np.ones(5), seed=0, level=0.999) is None


def test_a_level_beyond_the_draws_is_honoured():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(0, 1, size=100)
    low, high = bootstrap_mean_interval(values, np.ones(100), seed=0, level=0.99999)
    told = stats.ttest_1samp(values, 0).confidence_interval(0.99999)
    assert (low, high) == (pytest.approx(told.low, rel=0.1), pytest.approx(told.high, rel=0.1))
    surer = bootstrap_mean_interval(values, np.ones(100), seed=0, level=0.9999999)
    assert surer[0] < low and surer[1] > high


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


@pytest.mark.parametrize(("gained", "lost", "expected"), [(1, 9, 22 / 1024), (5, 0, 2 / 32), (0, 0, 1.0), (4, 4, 1.0)])
def test_mcnemars_test_is_twice_the_smaller_tail_of_the_binomial(gained, lost, expected):
    assert exact_mcnemar(gained, lost) == pytest.approx(expected)


def test_mcnemars_test_is_the_one_that_scipy_finds():
    stats = pytest.importorskip("scipy.stats")
    for gained, lost in ((30, 50), (220, 260), (0, 12)):
        assert exact_mcnemar(gained, lost) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_over_clusters_whole_passages_change_sides():
    # Five passages of three documents, all gained: 2 in 2^5, and not 2 in 2^15.
    clusters = np.repeat(np.arange(5), 3)
    assert exact_sign_flip(np.ones(15), clusters) == pytest.approx(2 / 32)
    # Sums 2, -1 and 1: of eight sign patterns, those with at most 1 on the negative side number 3.
    assert exact_sign_flip([1, 1, -1, 1], [0, 0, 1, 2]) == pytest.approx(2 * 3 / 8)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.9})
    assert found == pytest.approx({"a": 0.09, "b": 0.04, "c": 0.09, "d": 0.9})
    assert list(found) == ["a", "b", "c", "d"] and holm({}) == {}


def test_a_suite_of_equal_models_has_a_difference_called_in_one_of_twenty():
    p_values = np.random.default_rng(0).random((4000, 12))
    called = [min(holm(dict(enumerate(row))).values()) < 0.05 for row in p_values]
    assert np.mean(called) == pytest.approx(0.05, abs=3 * 0.0035)


def test_documents_of_one_passage_are_drawn_together():
    values = np.repeat(np.random.default_rng(2).normal(size=50), 4)
    clusters = np.repeat(np.arange(50), 4)
    low, high = paired_bootstrap_interval(values, clusters, seed=0)
    assert (low, high) == pytest.approx(paired_bootstrap_interval(values[::4], seed=0))
    apart = paired_bootstrap_interval(values, seed=0)
    assert high - low == pytest.approx(2 * (apart[1] - apart[0]), rel=0.1)
    # The linearized standard error says the same.
    assert (high - low) / 2 / 2.0096 == pytest.approx(standard_error(values, np.ones(200), clusters), rel=0.05)


@pytest.mark.parametrize("count", [8, 20])
def test_intervals_over_few_documents_hold_the_truth_as_often_as_they_say(count):
    """Plain percentiles hold it in 88% of cases with 8 documents."""
    samples = np.random.default_rng(1).normal(size=(1500, count))
    intervals = [paired_bootstrap_interval(row, seed=1, resamples=500) for row in samples]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.022)


def p_value_of(values, *, seed: int, resamples: int = 2000) -> float:
    return percentile_p_value(
        bootstrap_ratios(values, np.ones(len(values)), seed=seed, resamples=resamples), len(values)
    )


def test_a_p_value_is_one_less_the_level_at_which_the_interval_reaches_zero():
    values = np.random.default_rng(1).normal(0.4, 1, size=30)
    p_value = p_value_of(values, seed=3)
    low, _ = paired_bootstrap_interval(values, seed=3, level=1 - p_value)
    assert 0.005 < p_value < 0.2 and low == pytest.approx(0, abs=0.02)
    assert p_value_of(values - values.mean(), seed=3) > 0.9
    assert 0 < p_value_of(values + 9, seed=3) < 0.005


def test_a_p_value_beyond_all_draws_is_students():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(1.2, 1, size=100)
    found, exact = p_value_of(values, seed=3), stats.ttest_1samp(values, 0).pvalue
    # No draw of 2,000 reaches 0: alone they say 0.001 at the least.
    assert exact < 1e-15 and np.log(found) == pytest.approx(np.log(exact), rel=0.1)


def test_equal_models_have_a_p_value_below_5_percent_in_5_of_100_cases():
    samples = np.random.default_rng(7).normal(size=(1500, 25))
    p_values = [p_value_of(row, seed=1, resamples=500) for row in samples]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_clusters_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one number a document, got \\(2,\\) for \\(3,\\)"):
        paired_bootstrap_interval([1, 2, 3], [0, 1], seed=0)
    with pytest.raises(ValueError, match="at least 2 clusters of documents with counted tokens, got 1"):
        paired_bootstrap_interval([1, 2, 3], [4, 4, 4], seed=0)
