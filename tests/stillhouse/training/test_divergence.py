"""The two forms of every loss that a recipe may ask for are of one divergence."""

from typing import get_args

import pytest
import torch

from stillhouse.losses.chunked import DenseTarget, FactoredLogits, chunked_loss
from stillhouse.recipe import losses
from stillhouse.recipe.losses import Loss, UniversalLogitDistance
from stillhouse.training.divergence import forms_of

KINDS = [kind for kind in get_args(get_args(Loss)[0]) if kind is not UniversalLogitDistance]
OTHER_NUMBERS = [losses.JensenShannon(beta=0.2), losses.SkewedForwardKl(skew=0.4), losses.SkewedReverseKl(skew=0.4)]


@pytest.mark.parametrize("loss", [kind() for kind in KINDS] + OTHER_NUMBERS, ids=repr)
def test_both_forms_have_one_value_and_one_gradient(loss):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    head = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    teacher = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 9, (2, 5), generator=generator)
    forms = forms_of(loss, taid_t=0.3)
    target = DenseTarget(teacher, forms.chunked)
    chunked = chunked_loss(FactoredLogits(hidden, head), labels, target, alpha=1.0, temperature=2.0).loss
    plain = forms.plain(hidden @ head.T, teacher, labels, temperature=2.0)
    torch.testing.assert_close(chunked, plain)
    torch.testing.assert_close(*(torch.autograd.grad(form, hidden)[0] for form in (chunked, plain)))


def test_a_loss_across_two_tokenizers_has_no_form_over_one():
    with pytest.raises(ValueError, match="compares two tokenizers"):
        forms_of(UniversalLogitDistance())
