"""Top-k with a tail, and sampled targets: values by hand, expectations, and targets that do not fit."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses import forward_kl
from stillhouse.losses.sampled import sampled
from stillhouse.losses.top_k_with_tail import top_k_with_tail

VOCABULARY = 7
FIRST = torch.tensor([[0]])


def logits(*probabilities: float) -> Tensor:
    return torch.tensor([[[math.log(p) for p in probabilities]]], dtype=torch.float64)


def random_case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(2, 5, VOCABULARY, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 5, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, VOCABULARY, (2, 5), generator=generator)
    labels[0, 3:] = -100
    labels[1, 0] = -100
    return student, teacher, labels


def top(teacher: Tensor, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    found = F.log_softmax(teacher / temperature, -1).topk(k, dim=-1)
    return found.indices, found.values


def draws(teacher: Tensor, number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Each draw as a place of its own, with a weight of 1."""
    generator = torch.Generator().manual_seed(seed)
    flat = F.softmax(teacher, -1).flatten(0, 1)
    ids = torch.multinomial(flat, number, replacement=True, generator=generator)
    return ids.view(*teacher.shape[:2], number), torch.ones(*teacher.shape[:2], number)


def test_top_k_with_tail_by_hand():
    """Two tokens are known, the other two are one outcome of 0.2 for the teacher and 0.3 for the student."""
    ids, known = torch.tensor([[[0, 1]]]), torch.tensor([[[0.5, 0.3]]], dtype=torch.float64).log()
    by_hand = 0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.3) + 0.2 * math.log(0.2 / 0.3)
    found = top_k_with_tail(logits(0.4, 0.3, 0.2, 0.1), ids, known, FIRST)
    assert found.item() == pytest.approx(by_hand, rel=1e-12)


def test_sampled_by_hand():
    """Three draws of one token, one of another."""
    ids, counts = torch.tensor([[[0, 2]]]), torch.tensor([[[3, 1]]])
    by_hand = -0.75 * math.log(0.4) - 0.25 * math.log(0.2)
    assert sampled(logits(0.4, 0.3, 0.2, 0.1), ids, counts, FIRST).item() == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("k", [VOCABULARY, VOCABULARY - 1])
def test_with_every_token_known_top_k_is_forward_kl(k: int, temperature: float):
    """One token alone in the tail is known as well."""
    student, teacher, labels = random_case()
    found = top_k_with_tail(student, *top(teacher, k, temperature), labels, temperature=temperature)
    dense = forward_kl(student, teacher, labels, temperature=temperature)
    torch.testing.assert_close(found, dense)
    torch.testing.assert_close(torch.autograd.grad(found, student), torch.autograd.grad(dense, student))


def test_top_k_is_a_lower_bound_of_forward_kl_that_rises_with_k():
    student, teacher, labels = random_case()
    values = [top_k_with_tail(student, *top(teacher, k), labels).item() for k in range(1, VOCABULARY)]
    assert values == sorted(values)
    assert 0 < values[0] and values[-1] <= forward_kl(student, teacher, labels).item() + 1e-12


def test_top_k_of_a_model_with_itself_is_zero():
    student, _, labels = random_case()
    value = top_k_with_tail(student, *top(student.detach(), 3, 2.0), labels, temperature=2.0)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(value, student)[0].abs().max() < 1e-12


def test_t_squared_is_inside_top_k_whose_values_are_stored_at_the_temperature():
    student, teacher, labels = random_case()
    stored = top(teacher, 3, 2.0)
    softened = top_k_with_tail(student / 2, *stored, labels)
    assert top_k_with_tail(student, *stored, labels, temperature=2.0).item() == pytest.approx(4 * softened.item())


def test_the_tail_is_the_one_that_trl_appends():
    """TRL takes the tail as 1 minus the known; ours adds up what is left, which a sure student does not round away."""
    student, teacher, labels = random_case()
    ids, known = top(teacher, 3)
    mask = labels != -100

    def with_tail(log_probabilities: Tensor) -> Tensor:
        total = log_probabilities.logsumexp(-1, keepdim=True).clamp(max=-1e-7)
        return torch.cat([log_probabilities, torch.log(-torch.expm1(total))], dim=-1)

    log_q = F.log_softmax(student, -1).gather(-1, ids)
    trl = F.kl_div(with_tail(log_q), with_tail(known), reduction="none", log_target=True)[mask].sum() / mask.sum()
    torch.testing.assert_close(top_k_with_tail(student, ids, known, labels), trl)


def test_a_tail_below_rounding_keeps_its_gradient():
    """The student gives the tail e^-20, which 1 minus the rest would round to 0 in fp32."""
    student = torch.tensor([[[20.0, 0.0, 0.0]]], requires_grad=True)
    value = top_k_with_tail(student, torch.tensor([[[0]]]), torch.tensor([[[math.log(0.9)]]]), FIRST)
    by_hand = 0.9 * math.log(0.9) + 0.1 * math.log(0.1) + 0.1 * (20 - math.log(2))
    assert value.item() == pytest.approx(by_hand, rel=1e-5)
    (slope,) = torch.autograd.grad(value, student)
    torch.testing.assert_close(slope, torch.tensor([[[0.1, -0.05, -0.05]]]), rtol=1e-5, atol=1e-6)


def test_finite_differences():
    student, teacher, labels = random_case(3)
    stored, drawn = top(teacher, 3, 1.5), draws(teacher, 4)
    assert torch.autograd.gradcheck(lambda s: top_k_with_tail(s, *stored, labels, temperature=1.5), (student,))
    assert torch.autograd.gradcheck(lambda s: sampled(s, *drawn, labels), (student,))


def test_expected_sampled_gradient_equals_dense_over_every_outcome():
    """All 27 ways to draw three of three tokens, each weighted by its probability: no chance is left."""
    student = torch.tensor([[[0.3, -0.8, 0.1]]], dtype=torch.float64, requires_grad=True)
    teacher = logits(0.5, 0.2, 0.3)
    p = F.softmax(teacher, -1).flatten()
    expected_slope, expected_value = torch.zeros_like(student), 0.0
    for outcome in product(range(3), repeat=3):
        ids = torch.tensor([[outcome]])
        value = sampled(student, ids, torch.ones(1, 1, 3), FIRST)
        chance = p[list(outcome)].prod()
        expected_value += (chance * value).item()
        expected_slope += chance * torch.autograd.grad(value, student)[0]
    dense = forward_kl(student, teacher, FIRST)
    torch.testing.assert_close(expected_slope, torch.autograd.grad(dense, student)[0])
    entropy = -(p * p.log()).sum().item()
    assert expected_value == pytest.approx(dense.item() + entropy, rel=1e-12)


def test_expected_sampled_gradient_equals_dense_within_the_error_of_many_draws():
    """20,000 positions with the same teacher and student, twelve draws each: no coordinate 5 standard errors away."""
    number = 20_000
    student = torch.tensor([0.3, -0.8, 0.1, 1.2, -2.0], dtype=torch.float64)
    teacher = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5], dtype=torch.float64)
    many = student.expand(1, number, 5).clone().requires_grad_()
    ids, weights = draws(teacher.expand(1, number, 5), 12)
    loss = sampled(many, ids, weights, torch.zeros(1, number, dtype=torch.long))
    slopes = torch.autograd.grad(loss, many)[0][0] * number
    error = slopes.std(dim=0) / math.sqrt(number)
    distance = (slopes.mean(dim=0) - (F.softmax(student, -1) - F.softmax(teacher, -1))) / error
    assert distance.abs().max() < 5
    # The top three of the same teacher, renormalised, would be caught.
    biased = F.softmax(teacher.masked_fill(teacher < 0.5, -torch.inf), -1)
    assert ((biased - F.softmax(teacher, -1)) / error).abs().max() > 50


def test_a_token_drawn_twice_may_be_stored_once_or_twice_and_weights_have_any_scale():
    student, _, labels = random_case()
    twice = torch.tensor([4, 4, 1]).expand(2, 5, 3)
    once = torch.tensor([4, 1]).expand(2, 5, 2)
    expected = sampled(student, twice, torch.ones(2, 5, 3), labels)
    torch.testing.assert_close(sampled(student, once, torch.tensor([2, 1]).expand(2, 5, 2), labels), expected)
    torch.testing.assert_close(sampled(student, once, torch.tensor([0.4, 0.2]).expand(2, 5, 2), labels), expected)


def test_unused_places_contribute_nothing_whatever_id_they_hold():
    student, teacher, labels = random_case()
    spare = torch.tensor([-1, 10_000]).expand(2, 5, 2)
    ids, weights = draws(teacher, 4)
    wide = torch.cat([ids, spare], -1), F.pad(weights, (0, 2))
    torch.testing.assert_close(sampled(student, *wide, labels), sampled(student, ids, weights, labels))
    ids, known = top(teacher, 3)
    wide = torch.cat([ids, spare], -1), F.pad(known, (0, 2), value=-torch.inf)
    torch.testing.assert_close(top_k_with_tail(student, *wide, labels), top_k_with_tail(student, ids, known, labels))


LOSSES = {
    "top-k": lambda s, t, y: top_k_with_tail(s, *top(t, 3), y),
    "sampled": lambda s, t, y: sampled(s, *draws(t, 4), y),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_prompt_tokens_and_padding_contribute_nothing(loss):
    student, teacher, labels = random_case()
    value = loss(student, teacher, labels)
    noise = torch.zeros_like(teacher)
    noise[1, 0, 3] = noise[0, 3:, 2] = 100.0
    torch.testing.assert_close(loss(student + noise, teacher, labels), value)
    (slope,) = torch.autograd.grad(value, student)
    assert slope[1, 0].count_nonzero() == 0 and slope[0, 3:].count_nonzero() == 0
    assert slope[1, 1:].count_nonzero() > 0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_padded_equals_unpadded(loss):
    student, teacher, labels = random_case()
    # Padding comes at the end of the flat order that `draws` goes through, so the draws stay those of the row.
    wide = loss(
        *(F.pad(t[1:], (0, 0, 0, 4), value=5.0) for t in (student, teacher)), F.pad(labels[1:], (0, 4), value=-100)
    )
    torch.testing.assert_close(wide, loss(student[1:], teacher[1:], labels[1:]))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_nothing_counted_is_zero_with_a_zero_gradient(loss):
    student, teacher, labels = random_case()
    value = loss(student, teacher, torch.full_like(labels, -100))
    assert value.item() == 0
    assert torch.autograd.grad(value, student)[0].count_nonzero() == 0


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_bf16_is_computed_in_fp32_and_fp64_stays(loss):
    student, teacher, labels = random_case()
    assert loss(student.bfloat16(), teacher, labels).dtype == torch.float32
    assert loss(student, teacher, labels).dtype == torch.float64


def test_what_was_stored_in_half_precision_still_adds_up_to_one():
    student, teacher, labels = random_case()
    ids, known = top(teacher, 6)
    for dtype in (torch.float16, torch.bfloat16):
        own = top(student.detach(), 6)
        assert top_k_with_tail(student, own[0], own[1].to(dtype), labels).item() == pytest.approx(0, abs=1e-4)
        rounded = top_k_with_tail(student, ids, known.to(dtype), labels)
        torch.testing.assert_close(rounded, top_k_with_tail(student, ids, known, labels), rtol=0.02, atol=0)


def test_targets_that_do_not_fit_are_told():
    student, teacher, labels = random_case()
    ids, known = top(teacher, 3)
    weights = torch.ones(2, 5, 3)
    with pytest.raises(ValueError, match=r"labels, \(2, 5\), and one more axis, got \(2, 4, 3\) and \(2, 4, 3\)"):
        sampled(student, ids[:, :4], weights[:, :4], labels)
    with pytest.raises(ValueError, match=r"got \(2, 5, 3\) and \(2, 5, 2\)"):
        top_k_with_tail(student, ids, known[..., :2], labels)
    with pytest.raises(ValueError, match="vocabulary of 7, got .* to 10006; they belong to another tokenizer"):
        sampled(student, ids + 10_000, weights, labels)
    with pytest.raises(ValueError, match="vocabulary of 7, got -"):
        top_k_with_tail(student, ids - 7, known, labels)


def test_a_counted_position_without_a_target_is_refused():
    student, teacher, labels = random_case()
    ids, known = top(teacher, 3)
    weights = torch.ones(2, 5, 3)
    weights[1, 2] = 0
    with pytest.raises(ValueError, match="weights add up to 0"):
        sampled(student, ids, weights, labels)
    known[1, 2] = -torch.inf
    with pytest.raises(ValueError, match="more than 0 and at most 1, got 0 to"):
        top_k_with_tail(student, ids, known, labels)


def test_logits_in_the_place_of_log_probabilities_are_refused():
    student, teacher, labels = random_case()
    found = teacher.topk(3, dim=-1)
    with pytest.raises(ValueError, match="store log-probabilities within the whole vocabulary"):
        top_k_with_tail(student, found.indices, found.values, labels)
