import numpy as np
import pytest

from export.quantization.rounding import Grid, pack_codes, round_matrix


def _correlated(rng: np.random.Generator, tokens: int, width: int) -> np.ndarray:
    """Inputs that live mostly in a few directions, as activations do."""
    return rng.normal(size=(tokens, 4)) @ rng.normal(size=(4, width)) + 0.1 * rng.normal(size=(tokens, width))


def test_a_symmetric_block_worked_out_by_hand():
    # The largest weight is 0.8, so a step is -0.1 and 0.8 is code 0; 0.34 is 3 steps down, -0.1 one step up.
    column = np.array([0.8, 0.34, -0.1, 0.0] + [0.0] * 12, dtype=np.float32)[:, None]
    rounded = round_matrix(column, Grid(4, 16, True))
    assert rounded.scales_BN == pytest.approx(-0.1)
    assert rounded.codes_KN[:4, 0].tolist() == [0, 5, 9, 8]
    assert rounded.weights()[:4, 0] == pytest.approx([0.8, 0.3, -0.1, 0.0])


def test_an_asymmetric_block_worked_out_by_hand():
    # From -0.5 to 1.0 in 15 steps of 0.1: the weight 0 is code 5.
    column = np.array([1.0, -0.5, 0.27, 0.0] + [0.0] * 12, dtype=np.float32)[:, None]
    rounded = round_matrix(column, Grid(4, 16, False))
    assert rounded.zeros_BN.tolist() == [[5]]
    assert rounded.codes_KN[:4, 0].tolist() == [15, 0, 8, 5]
    assert rounded.weights()[:4, 0] == pytest.approx([1.0, -0.5, 0.3, 0.0])


@pytest.mark.parametrize("symmetric", [True, False])
def test_no_weight_moves_further_than_half_a_step_to_its_nearest_level(symmetric: bool):
    weight = np.random.default_rng(0).normal(size=(96, 7)).astype(np.float32)
    rounded = round_matrix(weight, Grid(4, 32, symmetric))
    step = np.abs(rounded.scales_BN).repeat(32, axis=0)
    moved = np.abs(rounded.weights() - weight)
    # The end of a grid can lie up to one step inside: seven levels on one side, or a rounded zero point.
    assert (moved <= 1.001 * step).all()
    assert (moved <= 0.501 * step).mean() > 0.95


@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_that_do_not_go_together_leave_nothing_to_make_good(symmetric: bool):
    weight = np.random.default_rng(1).normal(size=(160, 5)).astype(np.float32)
    nearest = round_matrix(weight, Grid(4, 32, symmetric))
    same = round_matrix(weight, Grid(4, 32, symmetric), moments_KK=np.eye(160) * 3.0)
    np.testing.assert_array_equal(nearest.codes_KN, same.codes_KN)


@pytest.mark.parametrize("width", [128, 200, 288])
def test_gptq_moves_the_weights_further_and_the_outputs_less(width: int):
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(width, 40)).astype(np.float32)
    inputs = _correlated(rng, 1000, width)
    nearest = round_matrix(weight, Grid(4, 32, False))
    gptq = round_matrix(weight, Grid(4, 32, False), moments_KK=inputs.T @ inputs)
    lost = [(each.weights()[:width] - weight) for each in (nearest, gptq)]
    assert np.linalg.norm(lost[1]) > np.linalg.norm(lost[0])
    assert np.linalg.norm(inputs @ lost[1]) < 0.5 * np.linalg.norm(inputs @ lost[0])


def test_the_error_of_one_weight_is_made_good_by_the_next():
    # Both inputs are always equal, so only the sum of the two weights matters; 1 and -1 pin the grid to 2/15.
    column = np.array([0.06, 0.06, 1.0, -1.0] + [0.0] * 12, dtype=np.float32)[:, None]
    moments = np.eye(16)
    moments[0, 1] = moments[1, 0] = 0.999
    nearest = round_matrix(column, Grid(4, 16, False)).weights()
    gptq = round_matrix(column, Grid(4, 16, False), moments_KK=moments).weights()
    assert nearest[:2, 0].tolist() == [0, 0]
    assert gptq[:2].sum() == pytest.approx(2 / 15)


def test_a_matrix_that_is_no_whole_number_of_blocks_is_filled_with_zeros():
    weight = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    rounded = round_matrix(weight, Grid(4, 32, True), moments_KK=np.eye(40))
    assert rounded.codes_KN.shape == (64, 3)
    assert rounded.scales_BN.shape == (2, 3)
    assert (rounded.weights()[40:] == 0).all()


def test_a_matrix_of_zeros_stays_one():
    rounded = round_matrix(np.zeros((32, 2), dtype=np.float32), Grid(4, 32, True))
    assert (rounded.weights() == 0).all()


def test_the_first_of_two_codes_is_the_low_half_of_the_byte():
    assert pack_codes(np.array([[1, 2, 15]], dtype=np.uint8), 4).tolist() == [[0x21, 0x0F]]
    assert pack_codes(np.array([[1, 2, 255]], dtype=np.uint8), 8).tolist() == [[1, 2, 255]]


def test_eight_bits_worked_out_by_hand():
    # The largest weight is 1.28, so a step is -0.01 and 1.28 is code 0; 0.344 is 34 steps down from 128.
    column = np.array([1.28, 0.344, -0.1, 0.0] + [0.0] * 12, dtype=np.float32)[:, None]
    rounded = round_matrix(column, Grid(8, 16, True))
    assert rounded.scales_BN == pytest.approx(-0.01)
    assert rounded.codes_KN[:4, 0].tolist() == [0, 94, 138, 128]
    assert rounded.weights()[:4, 0] == pytest.approx([1.28, 0.34, -0.1, 0.0], abs=1e-6)
    lopsided = round_matrix(np.array([2.55] + [0.0] * 15, dtype=np.float32)[:, None], Grid(8, 16, False))
    assert lopsided.zeros_BN.tolist() == [[0]]
    assert lopsided.codes_KN[:2, 0].tolist() == [255, 0]
