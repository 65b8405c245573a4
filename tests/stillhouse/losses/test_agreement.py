"""Where student and teacher find the same token likeliest, counted beside the loss."""

import pytest
import torch

from stillhouse.losses.agreement import agreed, likeliest
from stillhouse.losses.chunked import ChunkedLoss, Chunking, FactoredLogits, chunked_loss
from stillhouse.losses.chunked.divergences import forward_kl
from stillhouse.recipe.distillation import Distillation
from stillhouse.teachers.loss_target import loss_target
from stillhouse.teachers.targets import Dense, Draws, Mixture, TopK
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.plain_loss import plain_loss

FOLLOWS = Distillation(alpha={"shape": "agreement", "enough": 0.5}, temperature=1.0)
HALF = Coefficients(alpha=0.5, temperature=1.0)


def test_agreement_by_hand():
    student = torch.tensor([[1.0, 2.0, 0.0], [5.0, 4.0, 3.0], [0.0, 0.0, 1.0]])
    teacher = torch.tensor([[0.1, 0.2, 0.1], [0.0, 9.0, 0.0], [-3.0, -4.0, -2.0]])
    assert agreed(student, likeliest(teacher)).tolist() == [True, False, True]
    ids, draws = torch.tensor([[2, 1], [0, 1], [0, 0]]), torch.tensor([[1, 3], [2, 2], [0, 0]])
    # Of two that were drawn as often the first counts; a position without draws has id 0.
    assert agreed(student, likeliest(ids, draws)).tolist() == [True, True, False]


@pytest.fixture
def spoken():
    """A student's hidden states and head, labels of which some do not count, and a teacher in three forms."""
    torch.manual_seed(0)
    hidden, head, teacher = torch.randn(2, 9, 8), torch.randn(11, 8), torch.randn(2, 9, 11)
    # Half of the way to the student's own, so that they agree at some places and not at others.
    teacher = teacher + hidden @ head.T
    labels = torch.randint(0, 11, (2, 9))
    labels[0, 3:5] = labels[1, -1] = -100
    log_p, ids = teacher.log_softmax(dim=-1).topk(3)
    forms = {
        "dense": Dense(teacher),
        # Half of it says nothing of any word.
        "mixture": Mixture((Dense(teacher), Dense(torch.zeros(2, 9, 11))), torch.full((2, 2, 9), 0.5).log()),
        "top_k": TopK(ids, log_p),
        "draws": Draws(ids, torch.tensor([5, 2, 1]).expand(2, 9, 3)),
    }
    return hidden, head, labels, teacher, forms


@pytest.mark.parametrize("form", ["dense", "mixture", "top_k", "draws"])
def test_it_is_the_share_of_the_counted_tokens_in_whatever_form_the_teacher_is_known(spoken, form):
    hidden, head, labels, teacher, forms = spoken
    student, mask = hidden @ head.T, labels != -100
    expected = (student.argmax(-1) == teacher.argmax(-1))[mask].float().mean()
    assert 0 < expected < 1
    target = loss_target(forms[form], forward_kl())
    chunked = chunked_loss(
        FactoredLogits(hidden, head), labels, target, alpha=0.5, chunking=Chunking(rows=4), with_agreement=True
    )
    plain = plain_loss(student, labels, forms[form], FOLLOWS, HALF)
    for found in (chunked, plain):
        torch.testing.assert_close(found.agreement, expected)
    torch.testing.assert_close(chunked.teacher_loss, plain.teacher_loss)


def test_counting_it_changes_neither_loss_nor_gradient(spoken):
    hidden, head, labels, _, forms = spoken

    def losses(with_agreement: bool) -> tuple[ChunkedLoss, torch.Tensor]:
        weight = head.clone().requires_grad_()
        target = loss_target(forms["dense"], forward_kl())
        found = chunked_loss(FactoredLogits(hidden, weight), labels, target, alpha=0.5, with_agreement=with_agreement)
        found.loss.backward()
        return found, weight.grad

    (counted, slope), (plain, other) = losses(True), losses(False)
    assert torch.equal(counted.loss, plain.loss) and torch.equal(slope, other)
    assert plain.agreement is None


def test_without_a_teacher_there_is_no_agreement(spoken):
    hidden, head, labels, *_ = spoken
    assert chunked_loss(FactoredLogits(hidden, head), labels, None, alpha=0.5, with_agreement=True).agreement is None
