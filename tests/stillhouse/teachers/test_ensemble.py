"""Several teachers as one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse.data.dataset import Split
from stillhouse.errors import InputError
from stillhouse.recipe.knowledge import ByConfidence, ByDomain
from stillhouse.teachers.ensemble import ensemble
from stillhouse.teachers.local import open_local
from stillhouse.teachers.samples import samples_of
from stillhouse.teachers.targets import Dense, Targets
from stillhouse.training.batches import Batch, make_batch
from tests.stillhouse.teachers.captures import COMPUTE, LENGTH


class Said:
    """A teacher that says one thing everywhere."""

    def __init__(self, probabilities: list[float]):
        self.logits = torch.tensor(probabilities).log() + 3
        self.vocabulary_size = len(probabilities)

    def targets(self, batch) -> Targets:
        return Targets(Dense(self.logits.expand(*batch.labels.shape, -1)))


def test_probabilities_are_mixed_and_not_logits(batches):
    both = ensemble([Said([0.98, 0.01, 0.01]), Said([0.01, 0.98, 0.01])], [3, 1])
    counted = (batches[0].labels != -100).nonzero(as_tuple=True)
    mixed = both.targets(batches[0]).distribution.at(*counted).exp()
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


class Read:
    """A teacher that must not be asked."""

    vocabulary_size = 3

    def targets(self, batch) -> Targets:
        raise AssertionError("was asked")


SURE, UNSURE = [0.98, 0.01, 0.01], [0.2, 0.4, 0.4]


class SureOf:
    """A teacher that is sure where a text begins with one token, and unsure elsewhere."""

    vocabulary_size = 3

    def __init__(self, first: int):
        self.first = first

    def targets(self, batch) -> Targets:
        logits = torch.tensor(UNSURE).log().expand(*batch.labels.shape, -1).clone()
        for sample in samples_of(batch):
            if sample.ids[0] == self.first:
                logits[sample.row, sample.start : sample.start + len(sample.ids)] = torch.tensor(SURE).log()
        return Targets(Dense(logits))


def domains(rows: list[list[int]]) -> Batch:
    """Four texts of two data sets, laid out in rows."""
    lengths = np.array([5, 8, 4, 6])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.tile(np.array([1, 2, 0], dtype=np.int32), 8)[: starts[-1]]
    ids[starts[:-1]] = [1, 2, 1, 2]
    counted = np.ones(starts[-1], dtype=bool)
    counted[starts[:-1]] = False
    names = ("law/0", "org/code/0", "law/1", "org/code/1")
    split = Split(ids, counted, starts, lengths.astype(np.int64), names)
    return make_batch(split, rows, sequence_length=LENGTH, pad_id=0)


def by_text(teacher, rows: list[list[int]]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Probabilities and shares at the counted positions of each text."""
    batch = domains(rows)
    said = teacher.targets(batch)
    found = {}
    for sample in samples_of(batch):
        place = torch.from_numpy(sample.start + np.flatnonzero(sample.counted))
        logs = said.distribution.at(torch.full_like(place, sample.row), place)
        found[sample.name] = logs.exp(), said.shares[:, sample.row, place]
    return found


PACKED, APART = [[0, 1], [2, 3]], [[0], [1], [2], [3]]


def test_a_text_of_a_domain_is_taught_by_its_own_teacher_alone():
    both = ensemble([Said(SURE), Said(UNSURE)], [5, 1], ByDomain(), [["law"], ["org/code"]])
    for name, (probabilities, shares) in by_text(both, PACKED).items():
        expected, say = (SURE, [1.0, 0.0]) if name.startswith("law") else (UNSURE, [0.0, 1.0])
        torch.testing.assert_close(probabilities, torch.tensor(expected).expand_as(probabilities))
        assert shares.T.tolist() == [say] * len(probabilities)


def test_by_domain_the_targets_are_bit_for_bit_those_of_the_teacher_alone():
    alone = torch.log_softmax(Said(SURE).targets(domains(PACKED)).distribution.logits, dim=-1)
    both = ensemble([Said(SURE), Said(UNSURE)], [5, 1], ByDomain(), [["law"], ["org/code"]])
    batch = domains([[0], [2]])
    counted = batch.labels != -100
    said = both.targets(batch).distribution.at(*counted.nonzero(as_tuple=True))
    assert torch.equal(said, alone[: len(counted)][counted])


def test_teachers_that_serve_one_set_share_it_by_their_weights_and_others_do_not_read_it():
    three = ensemble([Said(SURE), Said(UNSURE), Read()], [3, 1, 9], ByDomain(), [["law"], ["law"], ["org/code"]])
    for _, shares in by_text(three, [[0, 2]]).values():
        torch.testing.assert_close(shares[:, 0], torch.tensor([0.75, 0.25, 0.0]))


def test_a_text_that_no_teacher_serves_is_refused():
    both = ensemble([Said(SURE), Said(UNSURE)], [1, 1], ByDomain(), [["law"], ["law"]])
    with pytest.raises(InputError, match="no teacher serves the data set org/code, of which org/code/0 is"):
        both.targets(domains(PACKED))


def test_a_confident_teacher_outweighs_an_unsure_one_text_by_text():
    """Neighbours in a row are taught by different teachers: a share is a text's, not a batch's."""
    both = ensemble([SureOf(1), SureOf(2)], [1, 1], ByConfidence(sharpness=5))
    for name, (_, shares) in by_text(both, PACKED).items():
        assert len({tuple(each) for each in shares.T.tolist()}) == 1
        first, second = shares[:, 0].tolist()
        assert first > 0.98 if name.startswith("law") else second > 0.98
        assert first + second == pytest.approx(1)


def test_the_share_by_hand():
    both = ensemble([Said([0.7, 0.2, 0.1]), Said(UNSURE)], [3, 1], ByConfidence(sharpness=2))
    entropies = [-sum(p * math.log(p) for p in said) for said in ([0.7, 0.2, 0.1], UNSURE)]
    one, other = 3 * math.exp(-2 * entropies[0]), math.exp(-2 * entropies[1])
    shares = by_text(both, PACKED)["law/0"][1]
    assert shares[0, 0].item() == pytest.approx(one / (one + other), rel=1e-5)


def test_cross_entropy_trusts_the_teacher_that_is_right_and_entropy_the_one_that_is_sure():
    # Every token of these texts but the first is 0, 1 or 2 as often; a teacher sure of a wrong one is no use.
    right, wrong = Said([0.4, 0.3, 0.3]), Said([1e-6, 1e-6, 1 - 2e-6])
    said = {
        measure: by_text(ensemble([right, wrong], [1, 1], ByConfidence(measure=measure)), PACKED)["org/code/0"][1]
        for measure in ("entropy", "cross_entropy")
    }
    assert said["entropy"][1, 0] > 0.7 and said["cross_entropy"][0, 0] > 0.9


@pytest.mark.parametrize("weighting", [ByDomain(), ByConfidence(), ByConfidence(measure="cross_entropy")])
def test_packed_equals_unpacked(weighting):
    both = ensemble([SureOf(1), Said([0.3, 0.5, 0.2])], [1, 2], weighting, [["law", "org/code"], ["law"]])
    packed, apart = by_text(both, PACKED), by_text(both, APART)
    for name, (probabilities, shares) in packed.items():
        torch.testing.assert_close(apart[name], (probabilities, shares))


def test_a_teacher_without_hope_of_a_token_is_as_unsure_as_it_says():
    """0 * log 0 is 0: a cache in 16 bits holds minus infinity."""
    both = ensemble([Said([0.5, 0.5, 0.0]), Said(UNSURE)], [1, 1], ByConfidence())
    for probabilities, shares in by_text(both, PACKED).values():
        assert torch.isfinite(probabilities).all() and torch.isfinite(shares).all()
