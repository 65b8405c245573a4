"""What the chunked loss makes on the way: no whole logits, no gradient that nobody asked for, which precision."""

from typing import Any

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
    MixedLogits,
    SampledTarget,
    Target,
    TopKTarget,
    chunked_loss,
    divergences,
)
from stillhouse.losses.taid import taid
from tests.stillhouse.losses.chunked_cases import TWO, random_case, target_of


class Largest(TorchDispatchMode):
    """Watches every tensor that any operation makes, in forward and backward."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // 4)
        return made


@pytest.mark.parametrize("form", ["hidden states", "logits", "a mixture", "top k", "sampled", "text"])
def test_the_whole_of_the_logits_never_exists(form: str):
    tokens, features, vocabulary, rows = 60, 4, 500, 8
    hidden, head = torch.randn(1, tokens, features, requires_grad=True), torch.randn(vocabulary, features)
    labels = torch.randint(0, vocabulary, (1, tokens))
    ids = torch.arange(5).expand(1, tokens, 5)
    target: Target | None = {
        "hidden states": DenseTarget(FactoredLogits(hidden + 1, head), divergences.jensen_shannon()),
        # Which exist already, and are not copied.
        "logits": DenseTarget(torch.randn(1, tokens, vocabulary), divergences.forward_kl()),
        "a mixture": DenseTarget(
            MixedLogits(
                (FactoredLogits(hidden + 1, head), FactoredLogits(hidden + 2, head)), torch.zeros(2, 1, tokens)
            ),
            divergences.forward_kl(),
        ),
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
