import numpy as np
import pytest

from evaluation.positions import compare_positions


def _plainly(reference: np.ndarray, variant: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The definitions, in float64 and all at once."""
    r, v = (each.astype(np.float64) for each in (reference, variant))
    r, v = (each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in (r, v))
    rows = np.arange(len(labels))
    kl = (np.exp(r) * (r - v)).sum()
    return np.array([-v[rows, labels].sum(), -r[rows, labels].sum(), kl, (r.argmax(1) == v.argmax(1)).sum()])


def _logits(positions: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = 3 * rng.normal(size=(positions, 2000)).astype(np.float32)
    variant = reference + noise * rng.normal(size=reference.shape).astype(np.float32)
    return reference, variant, rng.integers(2000, size=positions)


def test_two_positions_worked_out_by_hand():
    # Reference says 3/4 and 1/4, then 1/2 and 1/2; the variant says 1/4 and 3/4, then 1/2 and 1/2.
    reference = np.log([[3.0, 1.0], [1.0, 1.0]])
    variant = np.log([[1.0, 3.0], [1.0, 1.0]]) + 7.0
    nats, reference_nats, kl, agreements = compare_positions(reference, variant, np.array([0, 1]))
    assert nats == pytest.approx(np.log(4) + np.log(2))
    assert reference_nats == pytest.approx(np.log(4 / 3) + np.log(2))
    assert kl == pytest.approx(0.5 * np.log(3))
    assert agreements == 1


@pytest.mark.parametrize("positions", [1, 3, 4, 37])
def test_sums_are_those_of_the_definitions(positions: int):
    given = _logits(positions, 0.3)
    np.testing.assert_allclose(compare_positions(*given), _plainly(*given), rtol=1e-12)


def test_rounding_of_another_runtime_is_told_from_nothing():
    given = _logits(40, 2e-5)
    # Far below what float32 resolves of a probability, a tenth of a percent of it still is.
    assert 1e-10 < compare_positions(*given)[2] / 40 < 1e-9
    assert compare_positions(*given)[2] == pytest.approx(_plainly(*given)[2], rel=1e-3)


def test_equal_logits_differ_by_exactly_nothing():
    reference, _, labels = _logits(9, 0)
    nats, reference_nats, kl, agreements = compare_positions(reference, reference, labels)
    assert (nats - reference_nats, kl, agreements) == (0, 0, 9)


def test_a_token_that_both_rule_out_costs_nothing():
    logits = np.array([[1000.0, -1000.0, 0.0]], dtype=np.float32)
    assert compare_positions(logits, logits, np.array([0])).tolist() == [0, 0, 0, 1]


def test_no_positions_sum_to_nothing():
    assert compare_positions(np.empty((0, 5)), np.empty((0, 5)), np.empty(0, dtype=int)).tolist() == [0, 0, 0, 0]
