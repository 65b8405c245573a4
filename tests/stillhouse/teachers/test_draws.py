"""Draws: the right distribution, the same ones every time, and few bytes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stillhouse.losses.forward_kl import forward_kl
from stillhouse.losses.sampled import sampled
from stillhouse.teachers.cache.draws import draw, pack_draws, uniforms, unpack_draws

SAMPLE = bytes(range(16))


def test_the_draws_of_a_position_are_those_of_the_inverted_cumulative_distribution():
    probabilities = torch.tensor([[0.2, 0.0, 0.5, 0.3], [0.0, 0.0, 0.0, 1.0]])
    points = np.array([[0.0, 0.19, 0.21, 0.69, 0.71, 0.999], [0.0, 0.1, 0.5, 0.6, 0.9, 0.999]])
    assert draw(probabilities.log(), points).tolist() == [[0, 0, 2, 2, 3, 3], [3, 3, 3, 3, 3, 3]]


@pytest.mark.parametrize("vocabulary", [50, 64, 1000])
def test_blocks_draw_what_one_cumulative_sum_over_the_vocabulary_draws(vocabulary):
    logits = torch.randn(33, vocabulary, generator=torch.Generator().manual_seed(0)) * 2
    points = uniforms(1, SAMPLE, 33, 40)
    ends = logits.double().softmax(dim=-1).cumsum(dim=-1)
    expected = torch.searchsorted(ends, torch.from_numpy(points), right=True).sort(dim=-1).values
    assert draw(logits, points).tolist() == expected.tolist()


def test_uniforms_are_a_function_of_seed_sample_and_position():
    first = uniforms(0, SAMPLE, 5, 8)
    assert (uniforms(0, SAMPLE, 9, 8)[:5] == first).all()
    assert not (uniforms(1, SAMPLE, 5, 8) == first).any()
    assert not (uniforms(0, SAMPLE[::-1], 5, 8) == first).any()
    assert len(np.unique(first)) == first.size and 0 <= first.min() and first.max() < 1
    # Worked out once: another NumPy must not draw anew what a cache holds.
    assert first[0, :2].tolist() == [0.7550621386523526, 0.00189581024385288]


def test_expected_sampled_gradient_equals_dense():
    """The mean over 4,000 captures of one position, against the gradient of the dense loss, in standard errors."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(1, 1, 30, generator=generator) * 2
    labels = torch.zeros(1, 1, dtype=torch.long)
    student = torch.randn(1, 1, 30, generator=generator, requires_grad=True)
    (dense,) = torch.autograd.grad(forward_kl(student, teacher, labels), student)
    repeats, draws = 4000, 50
    tokens = np.concatenate([draw(teacher[0], uniforms(seed, SAMPLE, 1, draws)) for seed in range(repeats)])
    drawn = unpack_draws(pack_draws(tokens, 30), repeats, draws, 30)
    position = np.repeat(np.arange(repeats), drawn.num_different)
    counts = torch.zeros(repeats, 1, 30)
    counts[position, 0, drawn.ids] = torch.from_numpy(drawn.counts).float()
    ids = torch.arange(30).expand(repeats, 1, 30)
    loss = sampled(student.expand(repeats, 1, 30), ids, counts, labels.expand(repeats, 1))
    (mean,) = torch.autograd.grad(loss, student)
    probabilities = teacher.softmax(dim=-1)
    standard_error = (probabilities * (1 - probabilities) / (draws * repeats)).sqrt()
    assert ((mean - dense).abs() < 4 * standard_error + 1e-7).all()
    # A single capture is far from it, so that the test above tests something.
    (one,) = torch.autograd.grad(sampled(student, ids[:1], counts[:1], labels), student)
    assert F.cosine_similarity(one.flatten(), dense.flatten(), dim=0) < 0.999


@pytest.mark.parametrize(("vocabulary", "draws"), [(1, 3), (2, 1), (7, 5), (300, 50), (49152, 50), (151936, 200)])
def test_draws_come_out_of_their_bytes_as_they_went_in(vocabulary, draws):
    generator = np.random.default_rng(vocabulary)
    flat = generator.integers(0, vocabulary, size=(11, draws))
    peaked = np.minimum(flat, generator.integers(0, vocabulary, size=(11, 1)))
    tokens = np.sort(np.concatenate([flat, peaked, np.full((1, draws), vocabulary - 1), np.zeros((1, draws), int)]))
    drawn = unpack_draws(pack_draws(tokens, vocabulary), len(tokens), draws, vocabulary)
    assert np.repeat(drawn.ids, drawn.counts).reshape(tokens.shape).tolist() == tokens.tolist()
    assert drawn.num_different.tolist() == [len(set(row)) for row in tokens.tolist()]


def test_no_draws_are_no_bytes():
    nothing = pack_draws(np.zeros((0, 50), dtype=np.int64), 300)
    assert len(nothing) == 0
    assert len(unpack_draws(nothing, 0, 50, 300).ids) == 0


def test_a_token_takes_at_most_40_bytes_where_a_teacher_is_as_unsure_as_a_small_one():
    """SmolLM2-135M on real text: 2.7 nats of entropy, 16 different tokens in 50 draws. Here a distribution like it.

    Three bytes for each different token, as published, would be more than 40.
    """
    generator = torch.Generator().manual_seed(0)
    ranks = torch.arange(1, 49153).log()
    steepness = torch.linspace(0.9, 2.8, 120)[:, None]
    logits = -steepness * ranks
    logits = logits.gather(1, torch.stack([torch.randperm(49152, generator=generator) for _ in range(120)]))
    log_probabilities = F.log_softmax(logits, dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1).mean()
    tokens = draw(logits, uniforms(0, SAMPLE, 120, 50))
    different = np.mean([len(set(row)) for row in tokens.tolist()])
    assert 2.5 < entropy < 3 and 16 < different < 17
    assert len(pack_draws(tokens, 49152)) / 120 < 34 < 40 < 3 * different
