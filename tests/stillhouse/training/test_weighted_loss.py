"""Documents of a set with tasks pull at the student as much as their weights say."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stillhouse.data.dataset import read_split, write_split
from stillhouse.losses.chunked import Chunking, FactoredLogits, chunked_loss, divergences
from stillhouse.losses.chunked.targets import DenseTarget
from stillhouse.recipe.distillation import Distillation
from stillhouse.teachers.targets import Dense
from stillhouse.training.batches import make_batch
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.plain_loss import plain_loss
from tests.stillhouse.training.trainings import left, run


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 11, (2, 7), generator=generator)
    labels[0, 3] = labels[1, 6] = -100
    weights = torch.ones(2, 7)
    weights[0, :4], weights[1, 2:] = 0.5, 3.0
    return SimpleNamespace(
        hidden=torch.randn(2, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True),
        head=torch.randn(11, 5, generator=generator, dtype=torch.float64, requires_grad=True),
        teacher=torch.randn(2, 7, 11, generator=generator, dtype=torch.float64),
        labels=labels,
        weights=weights,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_both_forms_weigh_each_position_s_losses_and_divide_by_the_counted_tokens(drawn, alpha):
    mask = drawn.labels != -100
    logits = drawn.hidden @ drawn.head.T
    log_q, log_p = logits.log_softmax(-1)[mask], drawn.teacher.log_softmax(-1)[mask]
    text = -log_q.gather(1, drawn.labels[mask][:, None])[:, 0]
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    by_hand = (((1 - alpha) * text + alpha * kl) * drawn.weights[mask]).sum() / mask.sum()
    wanted = torch.autograd.grad(by_hand, (drawn.hidden, drawn.head))

    target = DenseTarget(drawn.teacher, divergences.forward_kl())
    factored = FactoredLogits(drawn.hidden, drawn.head)
    chunked = chunked_loss(
        factored, drawn.labels, target, alpha=alpha, chunking=Chunking(rows=4), weights=drawn.weights
    )
    coefficients = Coefficients(alpha=alpha, temperature=1.0)
    logits = drawn.hidden @ drawn.head.T
    plain = plain_loss(logits, drawn.labels, Dense(drawn.teacher), Distillation(), coefficients, drawn.weights)
    for found in (chunked, plain):
        torch.testing.assert_close(found.loss, by_hand)
        for gradient, expected in zip(torch.autograd.grad(found.loss, (drawn.hidden, drawn.head)), wanted, strict=True):
            torch.testing.assert_close(gradient, expected)


def test_weights_of_another_shape_are_refused(drawn):
    with pytest.raises(ValueError, match="weights and labels must have one shape"):
        chunked_loss(FactoredLogits(drawn.hidden, drawn.head), drawn.labels, None, alpha=0.0, weights=drawn.weights[:1])


def weighed(inputs, weights):
    split = read_split(inputs["dataset"], "train")
    write_split(inputs["dataset"], "train", replace(split, weights=np.asarray(weights, dtype=np.float32)))
    return read_split(inputs["dataset"], "train")


def test_a_batch_has_the_weight_of_each_document_at_its_positions(inputs):
    split = weighed(inputs, np.arange(24))
    batch = make_batch(split, [[3, 5], [7]], sequence_length=60, pad_id=0)
    lengths = np.diff(split.starts)
    assert batch.weights[0].tolist() == [3.0] * lengths[3] + [5.0] * lengths[5] + [1.0] * (60 - lengths[3] - lengths[5])
    assert batch.weights[1, 0] == 7


def test_documents_without_weight_are_not_trained_on_and_weights_of_one_change_nothing(inputs, tmp_path):
    whole = left(run(inputs, tmp_path / "whole", alpha=0.5))
    weighed(inputs, np.ones(24))
    alike = left(run(inputs, tmp_path / "alike", alpha=0.5))
    assert alike.losses == whole.losses
    assert all(torch.equal(alike.weights[name], tensor) for name, tensor in whole.weights.items())
    weighed(inputs, np.where(np.arange(24) % 2, 2.0, 0.0))
    other = left(run(inputs, tmp_path / "other", alpha=0.5))
    assert other.losses != whole.losses
    assert other.history["validation"][0] == whole.history["validation"][0], "what is measured is not weighed"
    weighed(inputs, np.zeros(24))
    nothing = left(run(inputs, tmp_path / "nothing", alpha=0.5, weight_decay=0.0))
    assert nothing.losses == [0.0] * 6
    start = left_weights(inputs)
    assert all(torch.equal(nothing.weights[name], tensor) for name, tensor in start.items())


def left_weights(inputs):
    from safetensors.torch import load_file

    return load_file(inputs["start"] / "model.safetensors")


def test_a_document_without_weight_draws_no_hidden_states_either(apart, tmp_path):
    """With the features' loss beside that of the logits; its projections are fitted on all of the text."""
    asked = {"features": {"rank": 8, "fit_tokens": 64}, "alpha": 0.5, "steps": 2}
    weighed(apart, np.zeros(24))
    nothing = left(run(apart, tmp_path / "nothing", **asked))
    assert nothing.losses == [0.0, 0.0]
    assert [entry["feature_loss"] for entry in nothing.history["training"]] == [0.0, 0.0]
    assert [entry["gradient_norm"] for entry in nothing.history["training"]] == [0.0, 0.0]
