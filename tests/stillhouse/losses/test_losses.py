"""Losses: values by hand, identities, and what must contribute nothing."""

import math

import pytest
import torch

from stillhouse.losses import cross_entropy, forward_kl
from stillhouse.losses.chunked import ChunkedLoss, Chunking, DenseTarget, FactoredLogits, chunked_loss, divergences


def logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor([[[math.log(p) for p in probabilities]]], dtype=torch.float64)


FIRST = torch.tensor([[0]])


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (2, 5), generator=generator)
    labels[0, 3:] = -100
    return student, teacher, labels


def test_forward_kl_of_a_fair_coin_against_a_biased_one():
    by_hand = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert forward_kl(logits(0.75, 0.25), logits(0.5, 0.5), FIRST).item() == pytest.approx(by_hand, rel=1e-12)


def test_forward_kl_of_a_model_with_itself_is_zero():
    _, teacher, labels = random_case()
    assert forward_kl(teacher, teacher, labels, temperature=3.0).item() == pytest.approx(0, abs=1e-12)


def test_cross_entropy_of_a_coin():
    assert cross_entropy(logits(0.75, 0.25), FIRST).item() == pytest.approx(-math.log(0.75), rel=1e-12)


def test_temperature_softens_and_its_square_is_inside():
    student, teacher, labels = random_case()
    softened = forward_kl(student / 2, teacher / 2, labels)
    assert forward_kl(student, teacher, labels, temperature=2.0).item() == pytest.approx(4 * softened.item())


def test_the_gradient_is_temperature_times_the_difference_of_the_softened_distributions():
    student, teacher, labels = random_case()
    forward_kl(student, teacher, labels, temperature=2.0).backward()
    expected = 2.0 * (torch.softmax(student / 2, -1) - torch.softmax(teacher / 2, -1)) / (labels != -100).sum()
    expected = expected * (labels != -100)[..., None]
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.parametrize("loss", [lambda s, t, y: forward_kl(s, t, y), lambda s, t, y: cross_entropy(s, y)])
def test_ignored_tokens_change_neither_loss_nor_gradient(loss):
    student, teacher, labels = random_case()
    value = loss(student, teacher, labels)
    value.backward()
    with torch.no_grad():
        noisy = student.clone()
        noisy[0, 3:] += 100
    assert loss(noisy, teacher, labels).item() == pytest.approx(value.item())
    assert student.grad is not None and student.grad[0, 3:].count_nonzero() == 0


@pytest.mark.parametrize("loss", [lambda s, t, y: forward_kl(s, t, y), lambda s, t, y: cross_entropy(s, y)])
def test_nothing_counted_is_zero_and_finite_with_a_gradient(loss):
    student, teacher, labels = random_case()
    value = loss(student, teacher, torch.full_like(labels, -100))
    value.backward()
    assert value.item() == 0
    assert student.grad is not None and student.grad.count_nonzero() == 0


@pytest.mark.parametrize(
    "loss", [lambda s, t, y: forward_kl(s, t, y, temperature=1.5), lambda s, t, y: cross_entropy(s, y)]
)
def test_gradients_agree_with_finite_differences(loss):
    student, teacher, labels = random_case(3)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, labels), (student,))


def test_bf16_logits_are_summed_in_fp32():
    student, teacher, labels = random_case()
    value = forward_kl(student.bfloat16(), teacher.bfloat16(), labels)
    assert value.dtype == torch.float32


def test_two_vocabularies_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 1, 3\) and \(1, 1, 2\)"):
        forward_kl(torch.zeros(1, 1, 3), torch.zeros(1, 1, 2), FIRST)


def mixed(student: torch.Tensor, teacher: torch.Tensor | None, labels: torch.Tensor, **numbers: float) -> ChunkedLoss:
    """The loss in chunks of three positions; the hidden states are the logits, and the head gives them back."""
    target = None if teacher is None else DenseTarget(teacher, divergences.forward_kl())
    head = torch.eye(student.shape[-1], dtype=student.dtype)
    return chunked_loss(FactoredLogits(student, head), labels, target, chunking=Chunking(rows=3), **numbers)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_chunked_equals_dense_in_value_and_gradient(alpha: float, temperature: float):
    student, teacher, labels = random_case()
    dense = (1 - alpha) * cross_entropy(student, labels)
    dense = dense + alpha * forward_kl(student, teacher, labels, temperature=temperature)
    (expected,) = torch.autograd.grad(dense, student)
    found = mixed(student, teacher, labels, alpha=alpha, temperature=temperature)
    (gradient,) = torch.autograd.grad(found.loss * 2, student)
    torch.testing.assert_close(found.loss, dense)
    torch.testing.assert_close(gradient, 2 * expected)
    torch.testing.assert_close(found.cross_entropy, cross_entropy(student, labels))


def test_a_mixture_without_a_teacher_is_cross_entropy():
    student, _, labels = random_case()
    found = mixed(student, None, labels, alpha=0.7, temperature=2.0)
    torch.testing.assert_close(found.loss, cross_entropy(student, labels))
    assert found.teacher_loss.item() == 0


def test_a_mixture_of_nothing_is_zero_with_a_zero_gradient():
    student, teacher, labels = random_case()
    found = mixed(student, teacher, torch.full_like(labels, -100), alpha=0.5, temperature=2.0)
    found.loss.backward()
    assert found.loss.item() == 0 and student.grad is not None and student.grad.count_nonzero() == 0
