"""The chunked loss against the plain ones: every divergence, every form of target; and what must never exist."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stillhouse.losses import cross_entropy, forward_kl
from stillhouse.losses.chunked import (
    ChunkedLoss,
    Chunking,
    DenseTarget,
    FactoredLogits,
    SampledTarget,
    Target,
    TopKTarget,
    chunked_loss,
    divergences,
)
from stillhouse.losses.chunked import loss as loss_module
from stillhouse.losses.jensen_shannon import jensen_shannon
from stillhouse.losses.reverse_kl import reverse_kl
from stillhouse.losses.sampled import sampled
from stillhouse.losses.skewed_forward_kl import skewed_forward_kl
from stillhouse.losses.skewed_reverse_kl import skewed_reverse_kl
from stillhouse.losses.taid import taid
from stillhouse.losses.top_k_with_tail import top_k_with_tail
from stillhouse.losses.total_variation import total_variation

ROWS, TOKENS, FEATURES, VOCABULARY = 3, 6, 4, 11
TWO = Chunking(rows=2)


class Case(NamedTuple):
    hidden: Tensor
    head: Tensor
    teacher_hidden: Tensor
    teacher_head: Tensor
    labels: Tensor

    @property
    def student(self) -> FactoredLogits:
        return FactoredLogits(self.hidden, self.head)

    @property
    def teacher(self) -> FactoredLogits:
        return FactoredLogits(self.teacher_hidden, self.teacher_head)

    @property
    def logits(self) -> Tensor:
        return self.hidden @ self.head.T

    @property
    def teacher_logits(self) -> Tensor:
        return (self.teacher_hidden @ self.teacher_head.T).detach()


def random_case(dtype: torch.dtype = torch.float64) -> Case:
    """Thirteen counted positions: not a multiple of the chunk. The teacher has features of its own number."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    labels = torch.randint(0, VOCABULARY, (ROWS, TOKENS), generator=generator)
    labels[0, :2] = labels[1, 4:] = labels[2, 3] = -100
    return Case(
        values(ROWS, TOKENS, FEATURES).requires_grad_(),
        values(VOCABULARY, FEATURES).requires_grad_(),
        values(ROWS, TOKENS, 5),
        values(VOCABULARY, 5),
        labels,
    )


Plain = Callable[..., Tensor]

DENSE: dict[str, tuple[divergences.Divergence, Plain]] = {
    "forward KL": (divergences.forward_kl(), forward_kl),
    "reverse KL": (divergences.reverse_kl(), reverse_kl),
    "JSD 0.5": (divergences.jensen_shannon(), jensen_shannon),
    "JSD 0.1": (divergences.jensen_shannon(0.1), partial(jensen_shannon, beta=0.1)),
    "JSD 0": (divergences.jensen_shannon(0.0), partial(jensen_shannon, beta=0.0)),
    "skewed forward KL": (divergences.skewed_forward_kl(), skewed_forward_kl),
    "skewed forward KL 0": (divergences.skewed_forward_kl(0.0), partial(skewed_forward_kl, skew=0.0)),
    "skewed reverse KL": (divergences.skewed_reverse_kl(0.3), partial(skewed_reverse_kl, skew=0.3)),
    "total variation": (divergences.total_variation(), total_variation),
    "TAID": (divergences.taid(t=0.4), partial(taid, t=0.4)),
}


def stored(case: Case, k: int, temperature: float) -> tuple[Tensor, Tensor]:
    found = F.log_softmax(case.teacher_logits / temperature, -1).topk(k, dim=-1)
    return found.indices, found.values


def drawn(case: Case) -> tuple[Tensor, Tensor]:
    """Draws with a repeated id and with an unused place."""
    flat = F.softmax(case.teacher_logits.double(), -1).flatten(0, 1)
    ids = torch.multinomial(flat, 6, replacement=True, generator=torch.Generator().manual_seed(1))
    counts = torch.tensor([1, 2, 1, 1, 3, 0], dtype=torch.uint8).expand(ROWS, TOKENS, 6)
    return ids.view(ROWS, TOKENS, 6), counts


def with_unused(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Two places more, which hold nothing."""
    return F.pad(ids, (0, 2)), F.pad(values, (0, 2), value=-torch.inf)


UNUSED = "top 3 and two unused places"
STORED = ["top 3", f"top {VOCABULARY}", UNUSED]
TEMPERED = [f"{name}, {form}" for name in DENSE for form in ("logits", "hidden states")] + STORED
NAMES = [*TEMPERED, "sampled"]


def target_of(case: Case, name: str, temperature: float = 1.0) -> tuple[Target, Tensor]:
    """A form of target beside the plain loss of the same knowledge."""
    logits, labels = case.logits, case.labels
    if name == "sampled":
        return SampledTarget(*drawn(case)), sampled(logits, *drawn(case), labels)
    if name in STORED:
        known = stored(case, int(name.split()[1]), temperature)
        known = with_unused(*known) if name == UNUSED else known
        return TopKTarget(*known), top_k_with_tail(logits, *known, labels, temperature=temperature)
    kind, form = name.split(", ")
    divergence, plain = DENSE[kind]
    known_as = case.teacher_logits if form == "logits" else case.teacher
    dense = plain(logits, case.teacher_logits, labels, temperature=temperature)
    return DenseTarget(known_as, divergence), dense


every_target = pytest.mark.parametrize("name", NAMES)


def compare(case: Case, found: ChunkedLoss, dense: Tensor, **tolerance: float) -> None:
    inputs = (case.hidden, case.head)
    torch.testing.assert_close(found.loss, dense, check_dtype=False, **tolerance)
    # A factor on the loss must reach the gradients, as the share of a micro-batch does.
    slopes = torch.autograd.grad(found.loss * 3, inputs)
    for slope, expected in zip(slopes, torch.autograd.grad(dense * 3, inputs), strict=True):
        torch.testing.assert_close(slope, expected, **tolerance)


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


class Largest(TorchDispatchMode):
    """Watches every tensor that any operation makes, in forward and backward."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // 4)
        return made


@pytest.mark.parametrize("form", ["hidden states", "logits", "top k", "sampled", "text"])
def test_the_whole_of_the_logits_never_exists(form: str):
    tokens, features, vocabulary, rows = 60, 4, 500, 8
    hidden, head = torch.randn(1, tokens, features, requires_grad=True), torch.randn(vocabulary, features)
    labels = torch.randint(0, vocabulary, (1, tokens))
    ids = torch.arange(5).expand(1, tokens, 5)
    target: Target | None = {
        "hidden states": DenseTarget(FactoredLogits(hidden + 1, head), divergences.jensen_shannon()),
        # Which exist already, and are not copied.
        "logits": DenseTarget(torch.randn(1, tokens, vocabulary), divergences.forward_kl()),
        "top k": TopKTarget(ids, torch.full((1, tokens, 5), -2.0)),
        "sampled": SampledTarget(ids, torch.ones(1, tokens, 5)),
        "text": None,
    }[form]
    with Largest() as chunked:
        student = FactoredLogits(hidden, head.requires_grad_())
        chunked_loss(student, labels, target, alpha=0.5, chunking=Chunking(rows=rows)).loss.backward()
    assert head.grad is not None and chunked.numbers == rows * vocabulary
    with Largest() as dense:
        cross_entropy(hidden @ head.T, labels).backward()
    assert dense.numbers == tokens * vocabulary


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


def test_bf16_hidden_states_and_head_have_an_fp32_loss_and_gradients_of_their_own_dtype():
    case = random_case(torch.bfloat16)
    exact = random_case()
    dense = 0.5 * cross_entropy(exact.logits, case.labels)
    dense = dense + 0.5 * forward_kl(exact.logits, exact.teacher_logits, case.labels)
    target = DenseTarget(case.teacher, divergences.forward_kl())
    found = chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO)
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.loss.double(), dense, rtol=0.02, atol=0)
    slopes = torch.autograd.grad(found.loss, (case.hidden, case.head))
    for slope, expected in zip(slopes, torch.autograd.grad(dense, (exact.hidden, exact.head)), strict=True):
        assert slope.dtype == torch.bfloat16
        torch.testing.assert_close(slope.double(), expected, rtol=0.1, atol=0.02)


def test_under_autocast_products_are_bf16_and_the_heads_gradient_is_fp32():
    case = random_case(torch.float32)
    target = DenseTarget(case.teacher, divergences.forward_kl())
    with torch.autocast("cpu", torch.bfloat16):
        found = chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO)
        dense = 0.5 * cross_entropy(F.linear(case.hidden, case.head), case.labels)
        teacher_logits = F.linear(case.teacher_hidden, case.teacher_head)
        assert teacher_logits.dtype == torch.bfloat16
        dense = dense + 0.5 * forward_kl(F.linear(case.hidden, case.head), teacher_logits, case.labels)
    # The very same rounded logits; only the sums differ.
    torch.testing.assert_close(found.loss, dense, rtol=1e-5, atol=0)
    slopes = torch.autograd.grad(found.loss, (case.hidden, case.head))
    for slope, expected in zip(slopes, torch.autograd.grad(dense, (case.hidden, case.head)), strict=True):
        assert slope.dtype == torch.float32
        torch.testing.assert_close(slope, expected, rtol=0.05, atol=0.01)


def test_the_heads_gradient_does_not_lose_small_chunks_to_bf16():
    """256 chunks that each add 1/256 of the gradient: a bf16 sum would stop growing on the way."""
    hidden = torch.ones(1, 256, 1, dtype=torch.bfloat16)
    head = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.zeros(1, 256, dtype=torch.long)
    loss = chunked_loss(FactoredLogits(hidden, head), labels, None, alpha=0.0, chunking=Chunking(rows=1)).loss
    (slope,) = torch.autograd.grad(loss, head)
    assert slope.flatten().tolist() == [-0.5, 0.5]


def test_validation_makes_values_and_no_gradients():
    case = random_case()
    target, plain = target_of(case, "top 3")
    with torch.no_grad():
        found = chunked_loss(case.student, case.labels, target, alpha=1.0, chunking=TWO)
    torch.testing.assert_close(found.loss, plain)
    assert not found.loss.requires_grad


class Products(TorchDispatchMode):
    """Counts the matrix products that are made."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(name in str(func) for name in ("aten.mm", "aten.addmm"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["top 3", "reverse KL, hidden states"])
def test_validation_multiplies_for_values_alone(name: str):
    case = random_case()
    target, _ = target_of(case, name)

    def made() -> tuple[ChunkedLoss, int]:
        with Products() as products:
            return chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO), products.count

    trained, with_gradients = made()
    with torch.no_grad():
        found, without = made()
    chunks = -(-int((case.labels != -100).sum()) // TWO.rows)
    # A product for the logits of each side; with gradients two more, of hidden states and head.
    sides = 1 if name == "top 3" else 2
    assert (without, with_gradients) == (sides * chunks, (sides + 2) * chunks)
    assert torch.equal(found.loss, trained.loss.detach())
    assert torch.equal(found.cross_entropy, trained.cross_entropy)


def test_a_head_that_is_held_fixed_gets_no_gradient():
    case = random_case()
    target, plain = target_of(case, "reverse KL, logits")
    student = FactoredLogits(case.hidden, case.head.detach())
    found = chunked_loss(student, case.labels, target, alpha=1.0, chunking=TWO)
    (slope,) = torch.autograd.grad(found.loss, case.hidden)
    torch.testing.assert_close(slope, torch.autograd.grad(plain, case.hidden)[0])


def test_the_teacher_gets_no_gradient():
    case = random_case()
    case.teacher_hidden.requires_grad_()
    case.teacher_head.requires_grad_()
    target = DenseTarget(case.teacher, divergences.forward_kl())
    chunked_loss(case.student, case.labels, target, alpha=0.5, chunking=TWO).loss.backward()
    assert case.teacher_hidden.grad is None and case.teacher_head.grad is None


def test_a_second_backward_is_refused():
    case = random_case()
    found = chunked_loss(case.student, case.labels, None, alpha=0.0)
    found.loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="for one backward"):
        found.loss.backward()


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


@pytest.mark.slow
def test_a_schedule_compiles_nothing_anew():
    """What alpha, temperature and t are is not compiled in; only whether they are 1."""
    case = random_case(torch.float32)

    def step(progress: float) -> None:
        divergence = divergences.taid(t=0.4 + progress / 2)
        target = DenseTarget(case.teacher_logits, divergence)
        settings = {"alpha": 0.5 + progress / 4, "temperature": 2 - progress / 2}
        chunking = Chunking(rows=100, compiled=True)
        found = chunked_loss(case.student, case.labels, target, chunking=chunking, **settings)
        plain = taid(
            case.logits, case.teacher_logits, case.labels, t=0.4 + progress / 2, temperature=settings["temperature"]
        )
        torch.testing.assert_close(found.teacher_loss, plain, rtol=1e-5, atol=1e-5)

    step(0.0)
    step(0.1)
    with torch.compiler.set_stance("fail_on_recompile"):
        for number in range(2, 10):
            step(number / 10)
