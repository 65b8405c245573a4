"""Losses of hidden states: values by hand, padding that changes nothing, gradients against finite differences."""

import math

import pytest
import torch

from stillhouse.losses import hidden_l1_and_cosine, hidden_mean_squared_error
from stillhouse.losses.hidden_states import in_teachers_scale

LOSSES = [hidden_mean_squared_error, hidden_l1_and_cosine]
NONE_MISSED = math.log(1 + math.exp(-1))


def random_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    counted = torch.ones(2, 5, dtype=torch.bool)
    counted[0, 3:] = False
    return student, teacher, counted


def test_the_squares_are_divided_by_counted_positions_and_features():
    student = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]])
    counted = torch.tensor([[True, False, True]])
    # (1 + 4) + 9 over 2 positions of 2 features
    assert hidden_mean_squared_error(student, teacher, counted).item() == pytest.approx(14 / 4)


def test_l1_and_cosine_by_hand():
    student, teacher = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
    by_hand = (1 + 2) / 2 - math.log(0.5)
    assert hidden_l1_and_cosine(student, teacher, torch.tensor([[True]])).item() == pytest.approx(by_hand)


def test_equal_states_have_the_least_loss():
    _, teacher, counted = random_case()
    assert hidden_mean_squared_error(teacher, teacher, counted).item() == 0
    assert hidden_l1_and_cosine(teacher, teacher, counted).item() == pytest.approx(NONE_MISSED)


@pytest.mark.parametrize("loss", LOSSES)
def test_positions_that_are_not_counted_change_neither_loss_nor_gradient(loss):
    student, teacher, counted = random_case()
    value = loss(student, teacher, counted)
    value.backward()
    other_student, other_teacher = student.detach().clone(), teacher.clone()
    other_student[0, 3:], other_teacher[0, 3:] = float("inf"), float("nan")
    other_student.requires_grad_(True)
    other = loss(other_student, other_teacher, counted)
    other.backward()
    assert other.item() == value.item()
    assert torch.equal(other_student.grad, student.grad)
    assert student.grad[0, 3:].count_nonzero() == 0 and student.grad[1].count_nonzero() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_padded_rows_are_worth_what_unpadded_ones_are(loss):
    student, teacher, _ = random_case()
    alone = loss(student[:, :3], teacher[:, :3], torch.ones(2, 3, dtype=torch.bool))
    counted = torch.arange(5).expand(2, 5) < 3
    assert loss(student, teacher, counted).item() == pytest.approx(alone.item(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_counted_is_zero_and_finite_with_a_gradient(loss):
    student, teacher, counted = random_case()
    value = loss(student, teacher, torch.zeros_like(counted))
    value.backward()
    assert value.item() == 0
    assert student.grad.count_nonzero() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_agree_with_finite_differences(loss):
    student, teacher, counted = random_case()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, counted), (student,))


@pytest.mark.parametrize("loss", LOSSES)
def test_states_of_zeros_have_a_finite_gradient(loss):
    student = torch.zeros(1, 2, 3, requires_grad=True)
    loss(student, torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]), torch.ones(1, 2, dtype=torch.bool)).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_fp32(loss):
    student, teacher, counted = random_case()
    halves = student.detach().bfloat16(), teacher.bfloat16()
    value = loss(*halves, counted)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(halves[0].double(), halves[1].double(), counted).item(), rel=1e-5)


def test_the_teachers_scale_makes_a_long_state_count_no_more_than_a_short_one():
    teacher = torch.tensor([[3.0, 4.0], [3000.0, 4000.0]])
    missed = torch.tensor([[1.1], [0.5]]) * teacher
    counted = torch.ones(2, dtype=torch.bool)
    value = hidden_mean_squared_error(*in_teachers_scale(missed, teacher), counted)
    assert value.item() == pytest.approx((0.1**2 + 0.5**2) / 2, rel=1e-4)


def test_a_scale_of_zero_is_finite():
    student, teacher = in_teachers_scale(torch.zeros(1, 3), torch.zeros(1, 3))
    assert student.isfinite().all() and teacher.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_that_do_not_fit_are_told(loss):
    student, teacher, counted = random_case()
    with pytest.raises(ValueError, match="project the student's"):
        loss(student[..., :3], teacher, counted)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        loss(student, teacher, counted[:, :4])
