"""Several teachers as one."""

from dataclasses import replace

import pytest
import torch

from stillhouse.errors import InputError
from stillhouse.teachers.ensemble import ensemble
from stillhouse.teachers.local import open_local
from stillhouse.teachers.targets import Dense, Targets
from tests.stillhouse.teachers.captures import COMPUTE


class Said:
    """A teacher that says one thing everywhere."""

    def __init__(self, probabilities: list[float]):
        self.logits = torch.tensor(probabilities).log() + 3
        self.vocabulary_size = len(probabilities)

    def targets(self, batch) -> Targets:
        return Targets(Dense(self.logits.expand(*batch.labels.shape, -1)))


def test_probabilities_are_mixed_and_not_logits(batches):
    both = ensemble([Said([0.98, 0.01, 0.01]), Said([0.01, 0.98, 0.01])], [3, 1])
    mixed = both.targets(batches[0]).distribution.logits[batches[0].labels != -100].softmax(dim=-1)
    expected = torch.tensor([0.7375, 0.2525, 0.01]).expand_as(mixed)
    torch.testing.assert_close(mixed, expected)


def test_an_ensemble_of_a_model_online_and_its_own_full_cache_is_that_model(tiny_model, captured, batches):
    local = open_local(tiny_model, COMPUTE)
    both = ensemble([local, captured("full").open(tiny_model)], [1.0, 1.0])
    rows, positions = (batches[0].labels != -100).nonzero(as_tuple=True)
    alone = local.targets(batches[0]).distribution.at(rows, positions).softmax(dim=-1)
    mixed = both.targets(batches[0]).distribution.at(rows, positions).softmax(dim=-1)
    torch.testing.assert_close(mixed, alone, atol=2e-3, rtol=2e-3)


def test_teachers_of_two_vocabularies_are_refused(tiny_model):
    local = open_local(tiny_model, COMPUTE)
    with pytest.raises(InputError, match="must share one vocabulary, got sizes 250, 300"):
        ensemble([local, replace(local, vocabulary_size=250)], [1, 1])


def test_a_cache_of_draws_cannot_be_mixed(tiny_model, captured, batches):
    both = ensemble([open_local(tiny_model, COMPUTE), captured("sampled", draws=20).open(tiny_model)], [1, 1])
    with pytest.raises(InputError, match="mixes whole distributions, got a teacher that gives Draws"):
        both.targets(batches[0])
