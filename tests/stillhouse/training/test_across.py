"""A student with a tokenizer of its own, trained beside a teacher with another: what is compared, and what ships."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stillhouse import losses
from stillhouse.data.dataset import read_split
from stillhouse.data.document import Document, write_documents
from stillhouse.data.encode import EncodeSettings, encode_documents
from stillhouse.data.encode_again import EncodeAgainSettings, encode_for_teacher, read_pairs
from stillhouse.data.splits import SPLITS
from stillhouse.models.fresh import FreshStudentSettings, make_fresh_student
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.own_tokenizer import TrainTokenizerSettings, train_tokenizer
from stillhouse.models.tokenizer import tokenizer_digest
from stillhouse.recipe.student import Fresh
from stillhouse.teachers.across import AcrossTeacher
from stillhouse.training import loop
from stillhouse.training.ranks import join
from stillhouse.training.step import train_step
from stillhouse.training.trainer import batches_of_step, prepare
from tests.conftest import SENTENCES
from tests.stillhouse.training.trainings import assert_alike, left, run, settings

STUDENT = Fresh.model_validate({"layers": 1, "tokenizer": {"kind": "trained", "vocabulary": 310}})
ACROSS = {"loss": {"kind": "universal_logit_distance"}, "alpha": 0.5, "temperature": 1.0}
TEXT_ALONE = {"loss": {"kind": "forward_kl"}, "alpha": 0.0}


@pytest.fixture(scope="module")
def across(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a training reads, each part made by its stage."""
    place = tmp_path_factory.mktemp("across")
    made = {name: place / name for name in ("documents", "tokenizer", "dataset", "dataset_teacher", "start")}
    for folder in made.values():
        folder.mkdir()
    texts = [f"{one} {other}" for one in SENTENCES for other in SENTENCES]
    for name in SPLITS:
        documents = [Document(f"toy/{number}", "text", text) for number, text in enumerate(texts)]
        write_documents(made["documents"] / f"{name}.jsonl", documents)
    inputs = {"teacher": tiny_model, "documents": made["documents"]}
    assert not isinstance(STUDENT.tokenizer, str)
    train_tokenizer(TrainTokenizerSettings(tokenizer=STUDENT.tokenizer), inputs, made["tokenizer"])
    inputs |= {"tokenizer": made["tokenizer"]}
    budgets = dict.fromkeys(("train_tokens", "validation_tokens", "held_out_tokens"), 2000)
    encode_documents(EncodeSettings(**budgets, sequence_length=64), inputs, made["dataset"])
    encode_for_teacher(EncodeAgainSettings(), inputs | {"dataset": made["dataset"]}, made["dataset_teacher"])
    make_fresh_student(FreshStudentSettings(student=STUDENT, seed=1), inputs, made["start"])
    return {**made, "teacher": tiny_model}


def train(inputs: dict[str, Path], folder: Path, **changes) -> Path:
    return run(inputs, folder, sequence_length=64, **{**ACROSS, **changes})


def trainer_of(inputs: dict[str, Path], **changes):
    return prepare(settings(sequence_length=64, **{**ACROSS, **changes}), inputs, join("cpu"))


def by_hand(inputs: dict[str, Path], batch, student) -> float:
    """The distances of all pairs of a batch, each text read alone by each model, over its targets."""
    read, own = (read_split(inputs[name], "train") for name in ("dataset", "dataset_teacher"))
    pairs = read_pairs(inputs["dataset_teacher"], "train")
    teacher = load_model(inputs["teacher"], device="cpu", dtype="fp32")
    total, first = 0.0, torch.zeros(1, 1, dtype=torch.long)
    for document in (document for row in batch.documents for document in row):
        places = [slice(int(split.starts[document]), int(split.starts[document + 1])) for split in (read, own)]
        mine = pairs[(pairs[:, 0] >= places[0].start) & (pairs[:, 0] < places[0].stop)]
        with torch.no_grad():
            said = [
                model(torch.from_numpy(np.array(split.ids[place])).long()[None]).logits[0]
                for model, split, place in zip((student, teacher), (read, own), places, strict=True)
            ]
        for one, other in mine:
            logits = [
                each[at - place.start - 1][None, None]
                for each, at, place in zip(said, (one, other), places, strict=True)
            ]
            total += losses.universal_logit_distance(*logits, first, first).item()
    return total * read.num_targets / len(pairs) / batch.num_counted


def test_a_step_compares_the_pairs_and_nothing_else(across):
    trainer = trainer_of(across)
    assert isinstance(trainer.teacher, AcrossTeacher)
    batch = batches_of_step(trainer, 0)[0]
    expected = by_hand(across, batch, load_model(across["start"], device="cpu", dtype="fp32"))
    entry = train_step(trainer, 0)
    assert entry["teacher_loss"] == pytest.approx(expected, rel=1e-4) and expected > 0.1
    assert entry["loss"] == pytest.approx((entry["cross_entropy"] + entry["teacher_loss"]) / 2, rel=1e-5)


def test_the_student_comes_closer_to_the_shape_of_its_teachers_predictions(across, tmp_path):
    changes = {"steps": 30, "batch_rows": 4, "validate_every": 30}
    taught = left(train(across, tmp_path / "taught", alpha=0.9, **changes)).history["training"]
    assert taught[-1]["teacher_loss"] < 0.8 * taught[0]["teacher_loss"]
    alone = train(across, tmp_path / "alone", **TEXT_ALONE, **changes)

    def apart(folder: Path) -> float:
        trainer = trainer_of({**across, "start": folder})
        return by_hand(across, batches_of_step(trainer, 0)[0], load_model(folder, device="cpu", dtype="fp32"))

    assert apart(tmp_path / "taught") < apart(alone)


def test_micro_batches_add_up_to_a_batch_whatever_each_has_in_pairs(across, tmp_path):
    one = train(across, tmp_path / "one", batch_rows=4, steps=2)
    assert_alike(one, train(across, tmp_path / "four", batch_rows=1, accumulation=4, steps=2))


def test_a_head_that_is_more_than_a_product_gives_the_same(across, tmp_path, monkeypatch):
    from stillhouse.training import objective

    def trained(name: str) -> tuple[Path, Path]:
        # The slope of a rank is a sign, which the last digit decides where two probabilities are as good as equal, and
        # Adam makes a step of it: losses and gradients of two steps are compared where the weights stand still.
        still = train(across, tmp_path / f"{name}-still", steps=2, learning_rate=1e-12)
        return still, train(across, tmp_path / name, steps=1)

    chunked = trained("chunked")
    monkeypatch.setattr(objective, "plain_head", lambda student: None)
    for one, another in zip(chunked, trained("plain"), strict=True):
        assert_alike(one, another, atol=2e-3)
        norms = [[entry["gradient_norm"] for entry in left(each).history["training"]] for each in (one, another)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_resumed_equals_uninterrupted_bit_for_bit(across, tmp_path, monkeypatch):
    whole, broken = train(across, tmp_path / "whole"), tmp_path / "broken"
    step = loop.train_step

    def stop_at_5(trainer, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(trainer, number)

    monkeypatch.setattr(loop, "train_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        train(across, broken)
    monkeypatch.setattr(loop, "train_step", step)
    train(across, broken)
    for name in ("model.safetensors", "history.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_the_student_ships_with_its_own_tokenizer_and_no_loss_of_other_tokens_beside_its_own(across, tmp_path):
    for name, changes in (("taught", {}), ("text alone", TEXT_ALONE)):
        student = train(across, tmp_path / name, steps=1, **changes)
        own = load_tokenizer(student)
        assert tokenizer_digest(own) == tokenizer_digest(load_tokenizer(across["tokenizer"]))
        assert load_model(student, device="cpu", dtype="fp32").config.vocab_size == len(own) == 310
        config = json.loads((student / "config.json").read_text())
        assert (config["eos_token_id"], config["bos_token_id"]) == (own.eos_token_id, own.bos_token_id)
        assert "teacher_validation_loss" not in json.loads((student / "history.json").read_text())
