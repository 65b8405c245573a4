"""The training loop on a random model of two layers: what it changes, what it must not, and how it resumes."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stillhouse.errors import InputError
from stillhouse.losses import reduction
from stillhouse.losses.chunked import loss as chunked_loss
from stillhouse.models.load import load_model
from stillhouse.recipe.knowledge import MovingAverage
from stillhouse.store.artifact import hash_file
from stillhouse.teachers import ensemble
from stillhouse.teachers.moving_average import MovingAverageTeacher
from stillhouse.training import loop, say
from stillhouse.training import step as stepping
from stillhouse.training import trainer as preparing
from stillhouse.training.step import TrainingDiverged
from tests.stillhouse.training.trainings import FOLLOWING, SHORT, assert_alike, left, run


def test_training_lowers_the_loss(inputs, tmp_path):
    history = json.loads((run(inputs, tmp_path / "a", alpha=0.0, steps=12) / "history.json").read_text())
    validation = [entry["loss"] for entry in history["validation"]]
    assert history["training"][-1]["loss"] < history["training"][0]["loss"]
    assert len(validation) == 5


@pytest.mark.parametrize("features", [None, {"rank": 8, "fit_tokens": 64}], ids=["logits", "features too"])
def test_the_teachers_parameters_hash_the_same_before_and_after(apart, tmp_path, monkeypatch, features):
    """Those in memory, which the steps could write to, and those on disk."""
    hashes, step = [], loop.train_step

    def hashed(trainer, number):
        hashes.append(hash_of(trainer.teacher.model))
        entry = step(trainer, number)
        hashes.append(hash_of(trainer.teacher.model))
        return entry

    monkeypatch.setattr(loop, "train_step", hashed)
    on_disk = hash_file(apart["teacher"] / "model.safetensors")
    trained = run(apart, tmp_path / "a", alpha=0.5, features=features)
    assert len(hashes) == 12 and len(set(hashes)) == 1
    assert hash_file(apart["teacher"] / "model.safetensors") == on_disk
    assert hash_file(trained / "model.safetensors") != hash_file(apart["start"] / "model.safetensors")


def hash_of(model: torch.nn.Module) -> str:
    tensors = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for _, tensor in tensors)).hexdigest()


def test_a_student_equal_to_its_teacher_has_nothing_to_learn_from_it(inputs, tmp_path):
    history = json.loads((run(inputs, tmp_path / "a", alpha=1.0, steps=1) / "history.json").read_text())
    assert history["training"][0]["teacher_loss"] == pytest.approx(0, abs=1e-6)
    assert history["training"][0]["loss"] == pytest.approx(0, abs=1e-6)


TWO_TEACHERS = {"kind": "ensemble", "weighting": {"kind": "by_confidence"}, "members": [{"teacher": "org/other"}]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"kind": "taid"}, "alpha": {"shape": "cosine", "start": 0.9, "end": 0.1}},
        {"alpha": FOLLOWING, "temperature": {**FOLLOWING, "start": 3, "end": 1}},
        {"training": {"lora": {"rank": 4}}},
        {"features": {"rank": 8, "fit_tokens": 64}},
        {"knowledge": MovingAverage(decay=0.5), "alpha": 0.9, "temperature": 1.0},
        {"knowledge": TWO_TEACHERS},
        pytest.param({"training": {"compile": True}}, marks=pytest.mark.slow),
    ],
    ids=["plain", "taid", "agreement", "lora", "features", "moving average", "ensemble", "compiled"],
)
def test_resumed_equals_uninterrupted_bit_for_bit(apart, tmp_path, monkeypatch, changes):
    apart = {**apart, "teacher_1": apart["start"]}
    whole = run(apart, tmp_path / "whole", **changes)
    broken = tmp_path / "broken"
    step = loop.train_step

    def stop_at_5(trainer, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(trainer, number)

    monkeypatch.setattr(loop, "train_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        run(apart, broken, **changes)
    seen = []
    monkeypatch.setattr(loop, "train_step", lambda trainer, number: seen.append(number) or step(trainer, number))
    run(apart, broken, **changes)
    assert seen == [4, 5]
    for name in ("model.safetensors", "history.json"):
        assert hash_file(broken / name) == hash_file(whole / name)


def test_a_student_is_drawn_to_the_average_of_its_own_steps(apart, tmp_path, monkeypatch):
    """And the recipe's teacher teaches nothing: another one gives the same student."""
    asked = {"alpha": 0.9, "temperature": 1.0}
    followed = []
    follow = MovingAverageTeacher.follow
    monkeypatch.setattr(
        MovingAverageTeacher, "follow", lambda self, student: followed.append(1) or follow(self, student)
    )
    steady = run(apart, tmp_path / "steady", knowledge=MovingAverage(decay=1.0), **asked)
    assert len(followed) == SHORT["steps"]
    # An average that never moves is the start, which then holds the student back.
    loose = run(apart, tmp_path / "loose", knowledge=MovingAverage(decay=0.0), **asked)
    start = load_file(apart["start"] / "model.safetensors")

    def way(folder: Path) -> float:
        return sum(float((left(folder).weights[name] - start[name]).norm()) for name in start)

    assert way(steady) < way(loose)
    other = run({**apart, "teacher": apart["start"]}, tmp_path / "other", knowledge=MovingAverage(decay=1.0), **asked)
    assert left(other).losses == left(steady).losses
    # At the first step the average is the student: nothing sets them apart.
    assert left(steady).history["training"][0]["teacher_loss"] == pytest.approx(0, abs=1e-6)


def test_the_student_leaves_with_the_template_of_its_teacher(inputs, tmp_path):
    from stillhouse.models.load import load_tokenizer

    start = tmp_path / "base"
    shutil.copytree(inputs["start"], start)
    (start / "chat_template.jinja").unlink()
    assert load_tokenizer(start).chat_template is None
    student = run({**inputs, "start": start}, tmp_path / "a", steps=1)
    assert load_tokenizer(student).chat_template == load_tokenizer(inputs["teacher"]).chat_template


def test_k_micro_batches_equal_one_batch(inputs, tmp_path):
    one = run(inputs, tmp_path / "one", batch_rows=4, steps=2)
    assert_alike(one, run(inputs, tmp_path / "four", batch_rows=1, accumulation=4, steps=2))


ALL_TEXT = {"rank": 8, "fit_tokens": 10**6}
"""Projections are fitted on whole batches up to a number of tokens; on all of the text, however it is batched."""


def test_k_micro_batches_equal_one_batch_with_features(apart, tmp_path):
    one = run(apart, tmp_path / "one", batch_rows=4, steps=2, features=ALL_TEXT)
    assert_alike(one, run(apart, tmp_path / "four", batch_rows=1, accumulation=4, steps=2, features=ALL_TEXT))


def test_features_balanced_against_the_logit_loss_are_the_exception_in_their_gradient_alone(apart, tmp_path):
    """Each forward pass has a scale of its own, L_b / F_b, where one batch has that of their means."""
    asked = {"features": {**ALL_TEXT, "balance": "logit_loss", "weight": 20.0}, "steps": 1}
    one = left(run(apart, tmp_path / "one", batch_rows=4, **asked)).history["training"][0]
    four = left(run(apart, tmp_path / "four", batch_rows=1, accumulation=4, **asked)).history["training"][0]
    for name in ("loss", "teacher_loss", "feature_loss"):
        assert four[name] == pytest.approx(one[name], rel=1e-5)
    assert four["gradient_norm"] != pytest.approx(one["gradient_norm"], rel=1e-4)


def test_gradient_checkpointing_changes_no_bit(apart, tmp_path):
    plain = run(apart, tmp_path / "plain", steps=2)
    saving = run(apart, tmp_path / "saving", steps=2, training={"gradient_checkpointing": True})
    assert hash_file(saving / "model.safetensors") == hash_file(plain / "model.safetensors")


def test_what_moves_is_what_the_loss_is_made_with(apart, tmp_path):
    """A student that stands still has, at each step, the loss of a training with that step's value throughout."""
    still = {"alpha": 1.0, "learning_rate": 1e-12}

    def losses(name, **told):
        return left(run(apart, tmp_path / name, **still, **told)).history["training"]

    cooling = losses("cooling", temperature={"shape": "linear", "start": 4.0, "end": 1.0})
    taid = losses("taid", loss={"kind": "taid", "start": 0.3})
    assert taid[0]["taid_t"] < taid[-1]["taid_t"]
    for place in (0, -1):
        temperature, share = cooling[place]["temperature"], taid[place]["taid_t"]
        constant = losses(f"at {temperature}", temperature=temperature)
        fixed = losses(f"share {share}", loss={"kind": "taid", "start": share, "end": share})
        for one, another in ((cooling, constant), (taid, fixed)):
            assert one[place]["teacher_loss"] == pytest.approx(another[place]["teacher_loss"], rel=1e-5)
            assert one[-1 - place]["teacher_loss"] != pytest.approx(another[-1 - place]["teacher_loss"], rel=1e-2)


def test_validation_does_not_touch_taid(apart, tmp_path):
    """Neither its t nor anything else, however often it comes."""
    told = {"loss": {"kind": "taid", "start": 0.3}, "alpha": 1.0}
    often = left(run(apart, tmp_path / "often", validate_every=1, **told))
    rarely = left(run(apart, tmp_path / "rarely", validate_every=100, **told))
    assert len(often.history["validation"]) > len(rarely.history["validation"])
    assert len({entry["taid_t"] for entry in often.history["training"]}) > 1
    for name in ("taid_t", "loss", "gradient_norm"):
        one, another = ([entry[name] for entry in each.history["training"]] for each in (often, rarely))
        assert one == another


def test_every_scheduled_value_is_logged_each_step(apart, tmp_path):
    moving = {"alpha": {"start": 1.0, "end": 0.0}, "temperature": {"shape": "cosine", "start": 4.0, "end": 1.0}}
    training = left(run(apart, tmp_path / "a", loss={"kind": "taid", "start": 0.3}, **moving)).history["training"]
    assert [entry["alpha"] for entry in training] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    assert training[0]["temperature"] == 4 and training[-1]["temperature"] == 1
    targets = [entry["taid_t"] for entry in training]
    assert targets[0] == 0.3 and targets == sorted(targets) and targets[-1] > 0.8
    # With no share left for the teacher, it is not asked.
    assert training[-1]["teacher_loss"] == 0 < training[-2]["teacher_loss"]


@pytest.mark.parametrize(
    "kind",
    ["reverse_kl", "jensen_shannon", "skewed_forward_kl", "skewed_reverse_kl", "total_variation", "taid"],
)
def test_each_loss_moves_the_student_elsewhere(apart, tmp_path, kind):
    """A choice that did nothing would give the student that forward KL gives."""
    other = left(run(apart, tmp_path / kind, alpha=1.0, steps=3, loss={"kind": kind}))
    plain = left(run(apart, tmp_path / "forward", alpha=1.0, steps=3))
    assert other.losses[0] != pytest.approx(plain.losses[0], rel=1e-3)
    assert any(not torch.equal(other.weights[name], plain.weights[name]) for name in plain.weights)


def test_a_head_that_is_more_than_a_product_gives_the_same_losses(apart, tmp_path, monkeypatch):
    from stillhouse.training import objective

    chunked = run(apart, tmp_path / "chunked", loss={"kind": "jensen_shannon"})
    monkeypatch.setattr(objective, "plain_head", lambda student: None)
    assert_alike(chunked, run(apart, tmp_path / "plain", loss={"kind": "jensen_shannon"}))


def test_adapters_are_merged_and_leave_an_ordinary_model(apart, tmp_path):
    trained = run(apart, tmp_path / "lora", training={"lora": {"rank": 4, "layers": ["q_proj", "down_proj"]}})
    before, after = left_weights(apart["start"]), left(trained).weights
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert set(after) == set(before)
    assert changed == {name for name in before if "q_proj" in name or "down_proj" in name}
    # What was measured last in training is what the merged model gives.
    assert left(trained).history["validation"][-1]["loss"] == pytest.approx(validation_loss(trained, apart), rel=1e-5)


def test_adapters_for_layers_that_do_not_exist_are_refused(inputs, tmp_path):
    with pytest.raises(InputError, match=r"names query, and the student's linear layers are .*q_proj"):
        run(inputs, tmp_path / "a", training={"lora": {"layers": ["query"]}})


@pytest.mark.parametrize("device", ["accelerator", "processor"])
def test_no_memory_left_says_what_to_lower(inputs, tmp_path, monkeypatch, device):
    def full(trainer, step):
        if device == "accelerator":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(loop, "train_step", full)
    with pytest.raises(MemoryError, match=r"lower distillation.batch_rows from 2 to 1 .*gradient_checkpointing"):
        run(inputs, tmp_path / "a")


class NoWideNumbers(TorchDispatchMode):
    """A device as Apple's: nothing on it has 64 bits and a point."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        wide = [each for each in tree_leaves(made) if isinstance(each, torch.Tensor) and each.dtype == torch.float64]
        assert not wide, function
        return made


@pytest.mark.parametrize(
    "changes",
    [{}, {"alpha": FOLLOWING}, {"on_policy": {}}, {"knowledge": TWO_TEACHERS}],
    ids=["plain", "agreement", "on-policy", "ensemble"],
)
def test_a_step_needs_no_fp64_where_there_is_none(apart, tmp_path, monkeypatch, changes):
    inputs, step = {**apart, "teacher_1": apart["start"]}, loop.train_step
    expected = left(run(inputs, tmp_path / "wide", steps=3, **changes)).losses
    for module in (reduction, chunked_loss, say, stepping, ensemble):
        monkeypatch.setattr(module, "widest", lambda device: torch.float32)

    def narrow(trainer, number):
        with NoWideNumbers():
            return step(trainer, number)

    monkeypatch.setattr(loop, "train_step", narrow)
    assert left(run(inputs, tmp_path / "narrow", steps=3, **changes)).losses == pytest.approx(expected, rel=1e-5)


def left_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def validation_loss(folder: Path, inputs: dict[str, Path]) -> float:
    """Of a saved model, by a training of no rate: its first validation."""
    return left(run({**inputs, "start": folder}, folder / "again", steps=1)).history["validation"][0]["loss"]


def test_a_loss_that_is_not_a_number_names_its_documents(inputs, tmp_path, monkeypatch):
    def broken(folder: Path, **kinds):
        model = load_model(folder, **kinds)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr(preparing, "load_model", broken)
    with pytest.raises(TrainingDiverged, match=r"loss is not a number at step 1, .*toy/\d+"):
        run(inputs, tmp_path / "nan")


def test_hidden_states_are_learned_and_their_projections_stay_behind(apart, tmp_path):
    compared = {"features": {"rank": 8, "weight": 20.0}, "alpha": 1.0, "steps": 40, "learning_rate": 3e-3}
    trained = left(run(apart, tmp_path / "features", **compared))
    losses = [entry["feature_loss"] for entry in trained.history["training"]]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])
    assert set(trained.weights) == set(left_weights(apart["start"]))
    plain = left(run(apart, tmp_path / "plain", alpha=1.0, steps=40, learning_rate=3e-3))
    assert "feature_loss" not in plain.history["training"][0]
    assert any(not torch.equal(trained.weights[name], plain.weights[name]) for name in plain.weights)


@pytest.mark.slow
def test_compiled_equals_plain(apart, tmp_path):
    plain = json.loads((run(apart, tmp_path / "plain") / "history.json").read_text())
    compiled = json.loads((run(apart, tmp_path / "compiled", training={"compile": True}) / "history.json").read_text())
    for one, other in zip(plain["training"], compiled["training"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
