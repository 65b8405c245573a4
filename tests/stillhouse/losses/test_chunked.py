"""The chunked loss against the plain ones: every divergence, every form of target."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses import cross_entropy
from stillhouse.losses.chunked import (
    Chunking,
    DenseTarget,
    FactoredLogits,
    MixedLogits,
    SampledTarget,
    Target,
    TopKTarget,
    chunked_loss,
    divergences,
)
from stillhouse.losses.chunked import loss as loss_module
from tests.stillhouse.losses.chunked_cases import (
    DENSE,
    NAMES,
    ROWS,
    TEMPERED,
    TOKENS,
    TWO,
    VOCABULARY,
    Case,
    compare,
    drawn,
    every_target,
    random_case,
    target_of,
)


@pytest.mark.parametrize(
    ("name", "temperature"),
    [(name, 1.0) for name in NAMES] + [(name, 2.5) for name in TEMPERED],
)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_chunked_equals_dense(name: str, temperature: float, alpha: float):
    case = random_case()
    target, plain = target_of(case, name, temperature)
    text = cross_entropy(case.logits, case.labels)
    found = chunked_loss(case.student, case.labels, target, alpha=alpha, temperature=temperature, chunking=TWO)
    compare(case, found, (1 - alpha) * text + alpha * plain)
    torch.testing.assert_close(found.cross_entropy, text)
    torch.testing.assert_close(found.teacher_loss, plain)


@every_target
def test_chunked_equals_dense_in_fp32_within_a_hundred_thousandth(name: str):
    case = random_case(torch.float32)
    target, plain = target_of(case, name)
    found = chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO)
    dense = 0.5 * cross_entropy(case.logits, case.labels) + 0.5 * plain
    assert found.loss.dtype == torch.float32
    compare(case, found, dense, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DENSE)
def test_chunked_equals_dense_where_the_teacher_rules_words_out(kind: str):
    case = random_case()
    teacher = case.teacher_logits.index_fill(2, torch.tensor([1, 4]), -torch.inf)
    divergence, plain = DENSE[kind]
    found = chunked_loss(case.student, case.labels, DenseTarget(teacher, divergence), alpha=1.0, chunking=TWO)
    dense = plain(case.logits, teacher, case.labels)
    if kind == "reverse KL":
        assert found.loss.item() == dense.item() == torch.inf
    else:
        assert dense.isfinite()
        compare(case, found, dense)


@pytest.mark.parametrize("kind", [kind for kind in DENSE if kind not in ("forward KL", "TAID")])
def test_the_slope_at_a_word_that_both_rule_out_is_zero(kind: str):
    log_q, log_p = (F.pad(torch.randn(3, 5).double().log_softmax(-1), (0, 1), value=-torch.inf) for _ in range(2))
    divergence, _ = DENSE[kind]
    parameter = torch.tensor(divergence.parameter).double()
    value, slope = divergence.value_and_slope(log_q, log_p, parameter)
    narrow, narrow_slope = divergence.value_and_slope(log_q[:, :5].clone(), log_p[:, :5].clone(), parameter)
    torch.testing.assert_close(value, narrow)
    torch.testing.assert_close(slope, F.pad(narrow_slope, (0, 1)))


@pytest.mark.parametrize("rows", [1, 3, 13, 512])
@pytest.mark.parametrize("tile_numbers", [1, 2 * VOCABULARY, 2**20])
def test_how_the_work_is_cut_decides_no_value(rows: int, tile_numbers: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss_module, "_TILE_NUMBERS", tile_numbers)
    case = random_case()
    target, plain = target_of(case, "forward KL, hidden states", 2.0)
    found = chunked_loss(case.student, case.labels, target, alpha=1.0, temperature=2.0, chunking=Chunking(rows=rows))
    compare(case, found, plain)


def test_without_a_teacher_it_is_cross_entropy():
    case = random_case()
    for target, alpha in ((None, 0.7), (target_of(case, "sampled")[0], 0.0)):
        found = chunked_loss(case.student, case.labels, target, alpha=alpha, chunking=TWO)
        compare(case, found, cross_entropy(case.logits, case.labels))
        assert found.teacher_loss.item() == 0


@every_target
def test_padded_equals_unpadded_and_prompt_tokens_contribute_nothing(name: str):
    case = random_case()
    target, _ = target_of(case, name)
    found = chunked_loss(case.student, case.labels, target, alpha=0.6, chunking=TWO)
    slope_of_hidden, slope_of_head = torch.autograd.grad(found.loss, (case.hidden, case.head))
    assert slope_of_hidden[case.labels == -100].count_nonzero() == 0
    assert (slope_of_hidden[case.labels != -100] != 0).any(-1).all()
    with torch.no_grad():
        hidden, teacher_hidden = case.hidden.clone(), case.teacher_hidden.clone()
        hidden[case.labels == -100] = 50.0
        teacher_hidden[case.labels == -100] = -50.0

    def pad(tensor: Tensor) -> Tensor:
        return F.pad(tensor, (0, 0, 0, 3), value=9.0)

    wide = Case(
        pad(hidden).requires_grad_(),
        case.head,
        pad(teacher_hidden),
        case.teacher_head,
        F.pad(case.labels, (0, 3), value=-100),
    )
    match target:
        case DenseTarget(FactoredLogits(), divergence):
            wide_target: Target = DenseTarget(wide.teacher, divergence)
        case DenseTarget(MixedLogits((_, other), log_shares), divergence):
            mixture = MixedLogits((wide.teacher, pad(other)), F.pad(log_shares, (0, 3), value=9.0))
            wide_target = DenseTarget(mixture, divergence)
        case DenseTarget(_, divergence):
            wide_target = DenseTarget(wide.teacher_logits, divergence)
        case TopKTarget(ids, values):
            wide_target = TopKTarget(pad(ids), pad(values))
        case SampledTarget(ids, values):
            wide_target = SampledTarget(pad(ids), pad(values))
    padded = chunked_loss(wide.student, wide.labels, wide_target, alpha=0.6, chunking=TWO)
    torch.testing.assert_close(padded.loss, found.loss)
    torch.testing.assert_close(torch.autograd.grad(padded.loss, case.head)[0], slope_of_head)


@every_target
def test_nothing_counted_is_zero_with_zero_gradients(name: str):
    case = random_case()
    target, _ = target_of(case, name)
    found = chunked_loss(case.student, torch.full_like(case.labels, -100), target, alpha=0.5)
    assert found.loss.item() == found.cross_entropy.item() == found.teacher_loss.item() == 0
    found.loss.backward()
    for tensor in (case.hidden, case.head):
        assert tensor.grad is not None and tensor.grad.count_nonzero() == 0


def test_two_parts_weighted_by_their_counted_tokens_are_the_whole():
    case = random_case()
    target = target_of(case, "forward KL, logits")[0]
    whole = chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO).loss
    total = torch.zeros((), dtype=torch.float64)
    for part in (slice(0, 1), slice(1, 3)):
        labels = case.labels[part]
        dense = DenseTarget(case.teacher_logits[part], divergences.forward_kl())
        found = chunked_loss(FactoredLogits(case.hidden[part], case.head), labels, dense, alpha=0.5, chunking=TWO)
        total = total + found.loss * (labels != -100).sum() / (case.labels != -100).sum()
    torch.testing.assert_close(total, whole)
    inputs = (case.hidden, case.head)
    torch.testing.assert_close(torch.autograd.grad(total, inputs), torch.autograd.grad(whole, inputs))


def test_expected_sampled_gradient_of_the_head_nears_the_dense_one():
    """Four times the draws halve the distance: the error is of chance, and none of bias."""
    case = random_case()
    dense = target_of(case, "forward KL, logits")[1]
    (expected,) = torch.autograd.grad(dense, case.head)
    flat = F.softmax(case.teacher_logits, -1).flatten(0, 1)
    distances = []
    for number in (2_000, 2_000 * 64):
        ids = torch.multinomial(flat, number, replacement=True, generator=torch.Generator().manual_seed(2))
        counts = F.one_hot(ids, VOCABULARY).sum(1).view(ROWS, TOKENS, VOCABULARY)
        target = SampledTarget(torch.arange(VOCABULARY).expand_as(counts), counts)
        loss = chunked_loss(case.student, case.labels, target, alpha=1.0, chunking=TWO).loss
        distances.append((torch.autograd.grad(loss, case.head)[0] - expected).norm().item())
    assert distances[1] < distances[0] / 4 < 0.01


def test_what_does_not_fit_is_told():
    case = random_case()
    sample = target_of(case, "sampled")[0]
    with pytest.raises(ValueError, match="cannot be softened, got 2"):
        chunked_loss(case.student, case.labels, sample, alpha=0.5, temperature=2.0)
    with pytest.raises(ValueError, match=r"one number of features, got \(3, 6, 4\) and \(11, 5\)"):
        FactoredLogits(case.hidden, case.teacher_head)
    with pytest.raises(ValueError, match=r"without the vocabulary, \(3, 6\), got \(3, 5\)"):
        chunked_loss(case.student, case.labels[:, :5], None, alpha=0.0)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1, got 1.5"):
        chunked_loss(case.student, case.labels, sample, alpha=1.5)
    with pytest.raises(ValueError, match=r"one shape, got \(3, 6, 11\) and \(3, 6, 10\)"):
        wrong = DenseTarget(case.teacher_logits[..., :10], divergences.forward_kl())
        chunked_loss(case.student, case.labels, wrong, alpha=0.5)
    with pytest.raises(ValueError, match=r"got \(3, 5, 6\) and \(3, 5, 6\)"):
        ids, counts = drawn(case)
        chunked_loss(case.student, case.labels, SampledTarget(ids[:, :5], counts[:, :5]), alpha=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward KL, hidden states", "JSD 0.1, logits", "top 3", "sampled"])
def test_compiled_equals_dense(name: str):
    case = random_case(torch.float32)
    target, plain = target_of(case, name)
    chunking = Chunking(rows=4, compiled=True)
    found = chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=chunking)
    dense = 0.5 * cross_entropy(case.logits, case.labels) + 0.5 * plain
    compare(case, found, dense, rtol=1e-5, atol=1e-5)
