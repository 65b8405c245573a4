"""How hard texts are for a model: against the plain computation, and across a kill."""

import json

import numpy as np
import pytest
import torch

from stillhouse.data.dataset import read_split
from stillhouse.models.load import load_model
from stillhouse.teachers import difficulty
from stillhouse.teachers.difficulty import DifficultySettings, measure_difficulty, read_difficulty
from tests.stillhouse.training.trainings import COMPUTE, write_random_dataset

SETTINGS = DifficultySettings(sequence_length=32, batch_rows=2, compute=COMPUTE)


@pytest.fixture
def inputs(tiny_model, tmp_path):
    return {"model": tiny_model, "dataset": write_random_dataset(tmp_path / "dataset")}


def test_loss_and_entropy_are_those_of_each_text_read_alone(inputs, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    measure_difficulty(SETTINGS, inputs, folder)
    split, model = read_split(inputs["dataset"], "train"), load_model(inputs["model"], device="cpu", dtype="fp32")
    found = {name: read_difficulty(folder, name) for name in ("loss", "entropy")}
    for document in (0, 7, 23):
        ids = torch.from_numpy(np.array(split.ids[split.starts[document] : split.starts[document + 1]])).long()
        with torch.no_grad():
            log_probs = model(ids[None]).logits[0, :-1].double().log_softmax(-1)
        loss = -log_probs.gather(-1, ids[1:, None]).mean()
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        assert found["loss"][document] == pytest.approx(loss.item(), rel=1e-5)
        assert found["entropy"][document] == pytest.approx(entropy.item(), rel=1e-5)
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["texts"] == facts["sets"]["toy"]["texts"] == 24
    assert facts["loss"]["p50"] == pytest.approx(np.median(found["loss"]))


def test_a_killed_reading_goes_on_where_it_was(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(difficulty, "_BATCHES_A_PART", 1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    measure_difficulty(SETTINGS, inputs, whole)
    parts = len(list((whole / "work").glob("*.npy")))
    read, seen = difficulty._read, []

    def stop_at_the_third(*arguments):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(difficulty, "_read", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        measure_difficulty(SETTINGS, inputs, broken)
    measure_difficulty(SETTINGS, inputs, broken)
    assert parts > 3 and len(seen) == parts + 1
    for name in ("difficulty.npy", "facts.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_text_with_more_tokens_than_a_row_is_read_all_the_same(inputs, tmp_path):
    """As of a teacher with other tokens, which may have more of them in a piece of the student's."""
    folders = [tmp_path / name for name in ("short", "long")]
    for folder, length in zip(folders, (4, 32), strict=True):
        folder.mkdir()
        measure_difficulty(SETTINGS.model_copy(update={"sequence_length": length}), inputs, folder)
    short, long = (read_difficulty(folder, "loss") for folder in folders)
    np.testing.assert_allclose(short, long, rtol=1e-4)
