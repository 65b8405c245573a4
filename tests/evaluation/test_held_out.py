import json
from dataclasses import replace
from math import log
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evaluation.held_out import HeldOutSettings, figures_of_sums, measure_held_out, sum_documents
from evaluation.results import ModelFigures
from stillhouse.data.dataset import Split, write_split
from stillhouse.errors import InputError
from stillhouse.models.load import load_model

LENGTHS = (7, 2, 12, 1, 9, 5)
SETTINGS = HeldOutSettings(device="cpu", threads=1, seed=0)


def fixed_model(*probabilities: float):
    """A model that predicts the same distribution at every position."""

    def forward(ids, attention_mask, use_cache):
        return SimpleNamespace(logits=torch.tensor(probabilities).log().expand(*ids.shape, -1))

    forward.device = torch.device("cpu")
    return forward


def split_of(lengths: tuple[int, ...], vocabulary: int) -> Split:
    """Random documents; all tokens but each document's first are counted, and each spells three bytes."""
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    counted = np.ones(starts[-1], dtype=bool)
    counted[starts[:-1]] = False
    return Split(
        ids=np.random.default_rng(0).integers(vocabulary, size=starts[-1]).astype(np.int32),
        counted=counted,
        starts=starts,
        num_bytes=3 * (np.array(lengths, dtype=np.int64) - 1),
        names=[f"set/{number}" for number in range(len(lengths))],
    )


@pytest.fixture
def measured(tiny_model, tmp_path):
    """Measure the tiny model beside a teacher on random documents."""

    def measure(model=tiny_model, teacher=tiny_model, split=None):
        folder = tmp_path / "measured"
        folder.mkdir()
        write_split(tmp_path / "dataset", "held_out", split or split_of(LENGTHS, 100))
        measure_held_out(SETTINGS, {"model": model, "teacher": teacher, "dataset": tmp_path / "dataset"}, folder)
        return json.loads((folder / "facts.json").read_text()), json.loads((folder / "held_out.json").read_text())

    return measure


def test_loss_and_kl_and_agreement_are_those_worked_out_by_hand():
    split = Split(
        ids=np.array([0, 1, 0, 1, 1], dtype=np.int32),
        counted=np.array([False, True, False, False, True]),
        starts=np.array([0, 3, 5]),
        num_bytes=np.array([2, 1]),
        names=["a/0", "a/1"],
    )
    sums = sum_documents(fixed_model(0.6, 0.4), fixed_model(0.25, 0.75), split)
    np.testing.assert_allclose(sums.nats, [-log(0.4), -log(0.4)], rtol=1e-6)
    np.testing.assert_allclose(sums.teacher_nats, [-log(0.75), -log(0.75)], rtol=1e-6)
    np.testing.assert_allclose(sums.kl_nats, [0.25 * log(0.25 / 0.6) + 0.75 * log(0.75 / 0.4)] * 2, rtol=1e-6)
    assert sums.agreements.tolist() == [0, 0]
    figures = figures_of_sums(sums, seed=0)
    assert figures["bits_per_byte"] == pytest.approx(-2 * log(0.4) / log(2) / 3)
    assert figures["held_out_loss_above_teacher_nats_per_token"] == pytest.approx(log(0.75 / 0.4))


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error():
    ids = np.array([0] + [0, 0, 0, 1] * 5, dtype=np.int32)  # of 20 counted tokens, 15 are token 0
    counted = np.array([False] + [True] * 20)
    split = Split(ids, counted, np.array([0, 21]), np.array([20]), ["a/0"])
    errors = {
        sure: figures_of_sums(sum_documents(fixed_model(sure, 1 - sure), None, split), seed=0)["calibration_error"]
        for sure in (0.75, 0.95, 0.6)
    }
    assert errors[0.75] == pytest.approx(0, abs=1e-6)
    assert errors[0.95] == pytest.approx(0.2, abs=1e-6)
    assert errors[0.6] == pytest.approx(0.15, abs=1e-6)
    # Too sure here and too modest there do not cancel: the two fall into different bins.
    both = sum_documents(fixed_model(0.95, 0.05), None, split)
    both = replace(both, gaps=both.gaps + np.roll(-both.gaps, 1, axis=1))
    assert figures_of_sums(both, seed=0)["calibration_error"] == pytest.approx(0.4, abs=1e-6)


def test_pieces_of_one_document_are_one_unit():
    split = replace(split_of((4, 3, 5), 2), names=["a/0", "a/1", "a/0"])
    sums = sum_documents(fixed_model(0.5, 0.5), None, split)
    assert sums.names == ("a/0", "a/1")
    assert sums.tokens.tolist() == [7, 2]
    assert sums.num_bytes.tolist() == [21, 6]
    np.testing.assert_allclose(sums.nats, [7 * log(2), 2 * log(2)], rtol=1e-6)


def test_padded_batches_give_what_each_document_gives_alone(tiny_model):
    model = load_model(tiny_model, device="cpu", dtype="fp32")
    split = split_of(LENGTHS, 100)
    together = sum_documents(model, None, split)
    assert together.names == ("set/0", "set/1", "set/2", "set/4", "set/5")
    for name, nats in zip(together.names, together.nats, strict=True):
        start, stop = split.starts[int(name[-1])], split.starts[int(name[-1]) + 1]
        ends = np.array([0, stop - start])
        alone = Split(split.ids[start:stop], split.counted[start:stop], ends, np.array([1]), (name,))
        assert sum_documents(model, None, alone).nats[0] == pytest.approx(nats, rel=1e-5)


def test_loss_is_the_cross_entropy_of_torch(tiny_model):
    model = load_model(tiny_model, device="cpu", dtype="fp32")
    split = split_of((9,), 100)
    ids = torch.from_numpy(split.ids.astype(np.int64))[None]
    expected = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum")
    assert sum_documents(model, None, split).nats[0] == pytest.approx(expected.item(), rel=1e-5)


def test_a_copy_of_the_teacher_has_no_divergence_from_it(measured, tiny_model, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tiny_model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    figures, _ = measured(model=copy)
    assert figures["kl_to_teacher_nats_per_token"] == 0
    assert figures["held_out_loss_above_teacher_nats_per_token"] == 0
    assert figures["top1_agreement_with_teacher"] == 1
    assert figures["intervals"]["held_out_loss_above_teacher_nats_per_token"] == [0, 0]


def test_the_teacher_itself_is_not_compared_with_itself(measured):
    figures, content = measured()
    parsed = ModelFigures(**figures)
    assert (parsed.tokens, parsed.documents) == (sum(LENGTHS) - 6, 5)
    assert parsed.kl_to_teacher_nats_per_token is parsed.top1_agreement_with_teacher is None
    assert set(parsed.intervals) == {"held_out_loss_nats_per_token", "bits_per_byte", "calibration_error"}
    low, high = parsed.intervals["bits_per_byte"]
    assert low < parsed.bits_per_byte < high
    assert [row["document"] for row in content["documents"]] == ["set/0", "set/1", "set/2", "set/4", "set/5"]
    total = sum(row["loss_nats"] for row in content["documents"])
    assert parsed.held_out_loss_nats_per_token == pytest.approx(total / parsed.tokens)


def test_one_document_has_figures_but_no_intervals(measured):
    assert measured(split=split_of((9,), 100))[0]["intervals"] == {}


def test_a_loss_that_is_not_finite_names_the_document():
    with pytest.raises(ValueError, match="held-out document set/[0-5] is not finite: .inf"):
        sum_documents(fixed_model(1.0, 0.0), None, split_of(LENGTHS, 2))


def test_a_split_without_counted_tokens_is_refused(measured):
    with pytest.raises(InputError, match="no counted token in 2 documents"):
        measured(split=split_of((1, 1), 100))


def test_validation_text_can_be_measured_so_that_held_out_text_stays_unseen(tiny_model, tmp_path):
    write_split(tmp_path, "held_out", split_of(LENGTHS, 100))
    write_split(tmp_path, "validation", split_of((6, 6, 6), 100))
    settings = SETTINGS.model_copy(update={"split": "validation"})
    (tmp_path / "out").mkdir()
    measure_held_out(settings, {"model": tiny_model, "teacher": tiny_model, "dataset": tmp_path}, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert (figures["tokens"], figures["documents"]) == (15, 3)
