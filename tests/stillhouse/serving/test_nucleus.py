import math

import numpy as np
import pytest

from stillhouse.serving.nucleus import draw, entropy, log_softmax, nucleus


def test_the_nucleus_is_the_fewest_tokens_that_hold_the_share():
    logits = np.log(np.array([0.1, 0.5, 0.25, 0.15], dtype=np.float32))
    assert nucleus(logits, 1.0, 0.7) == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert nucleus(logits, 1.0, 1.0) == pytest.approx([0.1, 0.5, 0.25, 0.15])
    assert nucleus(logits, 0.5, 0.5) == pytest.approx([0, 1, 0, 0])


def test_a_nucleus_among_many_tokens_is_that_of_sorting_them_all():
    logits = np.random.default_rng(0).normal(size=5000).astype(np.float32) * 3
    shares = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    # 0.9 lies among the likeliest thousand, 0.9999 does not.
    for top_p in (0.9, 0.9999):
        order = np.argsort(-shares, kind="stable")
        kept = order[np.cumsum(shares[order]) - shares[order] < top_p]
        expected = np.zeros(5000)
        expected[kept] = shares[kept] / shares[kept].sum()
        np.testing.assert_allclose(nucleus(logits, 1.0, top_p), expected, rtol=1e-5, atol=1e-12)


def test_log_probabilities_sum_to_1_however_large_the_logits():
    log_probs = log_softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]], dtype=np.float32))
    assert np.exp(log_probs) == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))


def test_entropy_is_in_nats_and_at_temperature_1():
    assert entropy(np.zeros(8, dtype=np.float32)) == pytest.approx(math.log(8))
    one_third = np.log(np.array([1, 3], dtype=np.float32))
    assert entropy(one_third) == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert entropy(np.array([0, -np.inf, 0], dtype=np.float32)) == pytest.approx(math.log(2))


def test_a_draw_is_decided_by_logits_and_generator_alone():
    logits = np.random.default_rng(0).normal(size=300).astype(np.float32)
    one, other = (
        [draw(logits, 1.0, 0.9, generator) for _ in range(50)]
        for generator in (np.random.default_rng([7, 1]), np.random.default_rng([7, 1]))
    )
    assert one == other and len(set(one)) > 10
