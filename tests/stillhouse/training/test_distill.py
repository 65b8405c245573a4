"""The training loop on a random model of two layers: what it changes, what it must not, and how it resumes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stillhouse.data.dataset import Split, write_split
from stillhouse.models.load import load_model
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.store.artifact import hash_file
from stillhouse.training import distill as module
from stillhouse.training.distill import DistillSettings, TrainingDiverged, distill

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=3)


def settings(**changes) -> DistillSettings:
    plain = {"batch_rows": 2, "steps": 6, "warmup_steps": 1, "validate_every": 3, "checkpoint_every": 2}
    return DistillSettings(
        distillation=Distillation(**{**plain, "learning_rate": 1e-2, **changes}), sequence_length=32, compute=COMPUTE
    )


@pytest.fixture
def inputs(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    dataset = tmp_path / "dataset"
    generator = np.random.default_rng(0)
    for name, documents in (("train", 24), ("validation", 4), ("held_out", 4)):
        lengths = generator.integers(5, 30, size=documents)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        counted = np.ones(starts[-1], dtype=bool)
        counted[starts[:-1]] = False
        ids = generator.integers(5, 100, size=starts[-1]).astype(np.int32)
        names = tuple(f"toy/{number}" for number in range(documents))
        write_split(dataset, name, Split(ids, counted, starts, lengths.astype(np.int64), names))
    return {"teacher": tiny_model, "start": tiny_model, "dataset": dataset}


def run(inputs: dict[str, Path], folder: Path, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    distill(settings(**changes), inputs, folder)
    return folder


def test_training_lowers_the_loss_and_leaves_the_teacher_alone(inputs, tmp_path):
    before = hash_file(inputs["teacher"] / "model.safetensors")
    history = json.loads((run(inputs, tmp_path / "a", alpha=0.0, steps=12) / "history.json").read_text())
    validation = [entry["loss"] for entry in history["validation"]]
    assert history["training"][-1]["loss"] < history["training"][0]["loss"]
    assert len(validation) == 5
    assert hash_file(inputs["teacher"] / "model.safetensors") == before


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(inputs, tmp_path):
    history = json.loads((run(inputs, tmp_path / "a", alpha=1.0, steps=1) / "history.json").read_text())
    assert history["training"][0]["kl"] == pytest.approx(0, abs=1e-6)
    assert history["training"][0]["loss"] == pytest.approx(0, abs=1e-6)


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(inputs, tmp_path, monkeypatch):
    whole = run(inputs, tmp_path / "whole")
    broken = tmp_path / "broken"
    step = module._step

    def stop_at_5(trainer, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(trainer, number)

    monkeypatch.setattr(module, "_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        run(inputs, broken)
    seen = []
    monkeypatch.setattr(module, "_step", lambda trainer, number: seen.append(number) or step(trainer, number))
    run(inputs, broken)
    assert seen == [4, 5]
    for name in ("model.safetensors", "history.json"):
        assert hash_file(broken / name) == hash_file(whole / name)


def test_the_student_leaves_with_the_template_of_its_teacher(inputs, tmp_path):
    from stillhouse.models.load import load_tokenizer

    start = tmp_path / "base"
    shutil.copytree(inputs["start"], start)
    (start / "chat_template.jinja").unlink()
    assert load_tokenizer(start).chat_template is None
    student = run({**inputs, "start": start}, tmp_path / "a", steps=1)
    assert load_tokenizer(student).chat_template == load_tokenizer(inputs["teacher"]).chat_template


def test_accumulated_micro_batches_equal_one_batch(inputs, tmp_path):
    one = load_file(run(inputs, tmp_path / "one", batch_rows=4, steps=2) / "model.safetensors")
    four = load_file(run(inputs, tmp_path / "four", batch_rows=1, accumulation=4, steps=2) / "model.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(four[name], tensor, atol=2e-5, rtol=1e-4)


def test_a_loss_that_is_not_a_number_names_its_documents(inputs, tmp_path, monkeypatch):
    def broken(folder: Path, **kinds):
        model = load_model(folder, **kinds)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr(module, "load_model", broken)
    with pytest.raises(TrainingDiverged, match=r"loss is not a number at step 1, .*toy/\d+"):
        run(inputs, tmp_path / "nan")
