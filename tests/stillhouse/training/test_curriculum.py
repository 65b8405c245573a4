"""Curricula: which texts share a row, which rows a step takes, and what of it reaches the training."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from stillhouse.data.dataset import read_split
from stillhouse.errors import InputError
from stillhouse.recipe.curriculum import Curriculum, GrowingPool
from stillhouse.teachers.difficulty import DifficultySettings, measure_difficulty, read_difficulty
from stillhouse.training import loop
from stillhouse.training.batches import rows_for_step
from stillhouse.training.curriculum import arrange, pool_size, rows_of_step
from stillhouse.training.distill import DistillSettings
from stillhouse.training.ranks import join
from stillhouse.training.trainer import batches_of_step, prepare
from tests.stillhouse.training.trainings import COMPUTE, left, run, settings

STEPS, ROWS, A_STEP = 10, 12, 3
"""Two and a half passes."""


@pytest.fixture
def read(apart, tmp_path):
    """The inputs of a training, and how hard the texts are for teacher and start."""
    found = dict(apart)
    for name in ("teacher", "start"):
        folder = tmp_path / f"difficulty-{name}"
        folder.mkdir()
        told = DifficultySettings(sequence_length=32, batch_rows=2, compute=COMPUTE)
        measure_difficulty(told, {"model": apart[name], "dataset": apart["dataset"]}, folder)
        found[f"difficulty_{name}"] = folder
    return found


def asked(**changes) -> Curriculum:
    return Curriculum.model_validate(changes)


def rows(curriculum: Curriculum | None, steps: int = STEPS, seed: int = 0) -> list[list[int]]:
    return [
        rows_of_step(curriculum, ROWS, step, rows_per_step=A_STEP, num_steps=steps, seed=seed) for step in range(steps)
    ]


def with_curriculum(curriculum: Curriculum, **changes) -> DistillSettings:
    return settings(**changes).model_copy(update={"curriculum": curriculum})


@pytest.mark.parametrize("kind", ["easy_first", "hard_first"])
def test_a_sorted_pass_takes_the_rows_of_a_shuffled_one_in_order(kind: str):
    found, shuffled = (np.concatenate(rows(each)) for each in (asked(order={"kind": kind}), None))
    for start in range(0, STEPS * A_STEP, ROWS):
        taken = found[start : start + ROWS]
        assert sorted(taken) == sorted(shuffled[start : start + ROWS])
        assert list(taken) == sorted(taken, reverse=kind == "hard_first")
    # A pass that is not whole is not the easiest half alone: all degrees of difficulty are seen.
    assert set(found[2 * ROWS :]) != set(range(STEPS * A_STEP - 2 * ROWS))


def test_a_step_knows_its_rows_without_those_before_it():
    """What a resumed run, and every one of several processes, needs."""
    for kind in ("easy_first", "growing_pool"):
        curriculum = asked(order={"kind": kind})
        whole = rows(curriculum)
        assert rows_of_step(curriculum, ROWS, 7, rows_per_step=A_STEP, num_steps=STEPS, seed=0) == whole[7]
        assert rows(curriculum, seed=1) != whole


def test_a_pool_grows_by_the_published_formula():
    growing = GrowingPool(start_share=0.1, full_at=0.5)
    sizes = [pool_size(growing, 1000, step, rows_per_step=4, num_steps=200) for step in (0, 25, 50, 100, 199)]
    # sqrt(s (1 - c0^2) + c0^2) at s = 0, 1/4, 1/2, 1.
    assert sizes == [100, 508, 711, 1000, 1000]
    linear = growing.model_copy(update={"shape": "linear"})
    sizes = [pool_size(linear, 1000, step, rows_per_step=4, num_steps=200) for step in (0, 25, 50, 100)]
    assert sizes == [100, 325, 550, 1000]
    assert pool_size(growing, 1000, 0, rows_per_step=256, num_steps=200) == 256


def test_a_step_draws_from_the_pool_alone_and_no_row_twice():
    growing = asked(order={"kind": "growing_pool", "start_share": 0.25, "full_at": 1.0})
    steps = 400
    found = rows(growing, steps)
    for step in range(steps):
        most = pool_size(growing.order, ROWS, step, rows_per_step=A_STEP, num_steps=steps)
        assert max(found[step]) < most and len(set(found[step])) == A_STEP
    seen = Counter(np.concatenate(found).tolist())
    assert seen[0] > seen[ROWS - 1] > 0


def test_rows_hold_texts_of_like_difficulty_and_come_from_easy_to_hard(read):
    split = read_split(read["dataset"], "train")
    loss = read_difficulty(read["difficulty_teacher"], "loss")
    found = arrange(asked(), split, read, 32)
    assert sorted(document for row in found for document in row) == list(range(split.num_documents))
    lengths = np.diff(split.starts)
    means = [np.average(loss[row], weights=lengths[row]) for row in found]
    assert means == sorted(means)
    by_start = arrange(asked(difficulty="start_loss"), split, read, 32)
    by_length = arrange(asked(difficulty="length"), split, read, 32)
    assert by_start != found and lengths[by_length[0]].mean() < lengths[by_length[-1]].mean()


@pytest.mark.parametrize("measure", ["loss", "entropy"])
def test_the_texts_that_the_teacher_is_least_sure_of_go(read, measure: str):
    split = read_split(read["dataset"], "train")
    found = read_difficulty(read["difficulty_teacher"], measure)
    order = {"kind": "shuffled"}
    share = asked(order=order, leave_out={"measure": measure, "worst_share": 0.25})
    kept = {document for row in arrange(share, split, read, 32) for document in row}
    assert kept == set(np.argsort(found)[:18].tolist())
    bound = asked(order=order, leave_out={"measure": measure, "above": float(np.median(found))})
    kept = {document for row in arrange(bound, split, read, 32) for document in row}
    assert kept == set(np.flatnonzero(found <= np.median(found)).tolist())
    with pytest.raises(InputError, match=r"leaves none of 24 training texts, whose mean \w+ goes from"):
        arrange(asked(order=order, leave_out={"measure": measure, "above": 0.01}), split, read, 32)


def test_hard_texts_come_late_where_easy_ones_come_first(read):
    """In what is trained on: the teacher's loss on a step's rows rises over the steps, or falls."""
    split = read_split(read["dataset"], "train")
    loss = read_difficulty(read["difficulty_teacher"], "loss")

    def difficulties(kind: str) -> list[list[float]]:
        trainer = prepare(with_curriculum(asked(order={"kind": kind})), read, join("cpu"))
        found = []
        for step in range(trainer.num_steps):
            documents = [list(row) for batch in batches_of_step(trainer, step) for row in batch.documents]
            found.append([np.average(loss[row], weights=np.diff(split.starts)[row]) for row in documents])
        return found

    easy, hard, pool = (difficulties(kind) for kind in ("easy_first", "hard_first", "growing_pool"))
    assert all(max(early) <= min(late) for early, late in pairwise(easy)) and easy[0] != easy[-1]
    assert all(min(early) >= max(late) for early, late in pairwise(hard))
    # The first step draws as many rows as its pool has: the easiest two.
    assert max(pool[0]) < min(value for step in easy[1:] for value in step)


def test_several_processes_share_the_rows_of_one(read):
    curriculum = asked(order={"kind": "growing_pool"})
    alone = prepare(with_curriculum(curriculum, accumulation=2), read, join("cpu"))
    together = with_curriculum(curriculum, training={"processes": 2})
    for step in (0, 5):
        whole = {row for batch in batches_of_step(alone, step) for row in batch.names}
        parts = [
            batches_of_step(replace(alone, settings=together, ranks=replace(alone.ranks, number=number, count=2)), step)
            for number in range(2)
        ]
        assert {row for part in parts for batch in part for row in batch.names} == whole
        assert all(len(part) == 1 for part in parts)


@pytest.mark.parametrize("kind", ["easy_first", "growing_pool"])
def test_resumed_equals_uninterrupted_bit_for_bit(read, tmp_path, monkeypatch, kind: str):
    told = with_curriculum(asked(order={"kind": kind}, leave_out={"worst_share": 0.2}))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    step = loop.train_step

    def stop_at_5(trainer, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(trainer, number)

    for folder in (whole, broken):
        folder.mkdir()
    loop.train(told, read, whole)
    monkeypatch.setattr(loop, "train_step", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        loop.train(told, read, broken)
    monkeypatch.setattr(loop, "train_step", step)
    loop.train(told, read, broken)
    for name in ("model.safetensors", "history.json", "facts.json"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert '"texts": 19, "of_texts": 24' in (whole / "facts.json").read_text()


def test_a_curriculum_trains_another_student(read, tmp_path):
    plain = left(run(read, tmp_path / "plain")).losses
    found = []
    for kind in ("easy_first", "hard_first", "growing_pool"):
        folder = tmp_path / kind
        folder.mkdir()
        loop.train(with_curriculum(asked(order={"kind": kind})), read, folder)
        found.append(left(folder).losses)
    assert all(one != other for one in [plain, *found] for other in [plain, *found] if one is not other)


def test_without_a_curriculum_nothing_is_other_than_before():
    assert rows(None) == [rows_for_step(ROWS, step, A_STEP, 0) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"order": {"kind": "shuffled"}}, "a training without a curriculum"),
        ({"leave_out": {}}, "give worst_share .* or above .*, got neither"),
        ({"leave_out": {"worst_share": 0.1, "above": 3}}, "got both"),
        ({"leave_out": {"worst_share": 1.0}}, "less than 1"),
        ({"order": {"kind": "random"}}, "easy_first"),
        ({"order": {"kind": "growing_pool", "start_share": 0}}, "greater than 0"),
        ({"difficulty": "entropy"}, "teacher_loss"),
    ],
)
def test_what_is_no_curriculum_is_refused(section: dict, said: str):
    with pytest.raises(ValueError, match=said):
        asked(**section)


def test_only_the_models_that_are_needed_read_the_texts():
    assert asked().readers == ("teacher",)
    assert asked(difficulty="length").readers == ()
    assert asked(difficulty="start_loss").readers == ("start",)
    assert asked(difficulty="start_loss", leave_out={"above": 3}).readers == ("teacher", "start")
    assert asked(order={"kind": "shuffled"}, leave_out={"above": 3}).readers == ("teacher",)
    # Nothing is ordered by it, so it is refused and not ignored.
    with pytest.raises(ValidationError, match="difficulty is start_loss, by which rows are ordered"):
        asked(difficulty="start_loss", order={"kind": "shuffled"}, leave_out={"above": 3})
