from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stillhouse.data.dataset import Split
from stillhouse.data.packing import pack
from stillhouse.losses.chunked import Chunking
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.distillation import Distillation
from stillhouse.teachers.local import LocalTeacher
from stillhouse.training.batches import make_batch, rows_for_step
from stillhouse.training.coefficients import Coefficients
from stillhouse.training.objective import Objective

LENGTHS = (5, 9, 3, 7, 4)
PAD = 30


@pytest.fixture
def split():
    generator = np.random.default_rng(0)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    counted = generator.random(starts[-1]) < 0.7
    counted[starts[:-1]] = False
    ids = generator.integers(0, 30, size=starts[-1]).astype(np.int32)
    names = tuple(f"set/{number}" for number in range(len(LENGTHS)))
    return Split(ids, counted, starts, np.ones(len(LENGTHS), dtype=np.int64), names)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).eval()


def forward(model, batch):
    return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits


def test_labels_are_the_counted_next_tokens_of_the_same_document():
    split = Split(
        ids=np.array([10, 11, 12, 20, 21], dtype=np.int32),
        counted=np.array([False, False, True, False, True]),
        starts=np.array([0, 3, 5]),
        num_bytes=np.array([1, 1]),
        names=("a/1", "b/2"),
    )
    batch = make_batch(split, [[0, 1]], sequence_length=7, pad_id=0)
    assert batch.input_ids.tolist() == [[10, 11, 12, 20, 21, 0, 0]]
    assert batch.labels.tolist() == [[-100, 12, -100, 21, -100, -100, -100]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 0]]
    assert batch.names == (("a/1", "b/2"),)


def test_a_position_sees_its_own_document_up_to_itself_and_padding_sees_itself():
    split = Split(
        np.arange(3, dtype=np.int32), np.ones(3, dtype=bool), np.array([0, 2, 3]), np.array([1, 0]), ("a/1", "a/2")
    )
    mask = make_batch(split, [[0, 1]], sequence_length=5, pad_id=0).attention_mask
    assert mask.shape == (1, 1, 5, 5)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_a_packed_document_has_the_logits_that_it_has_alone(split, model):
    rows = pack(split.starts, 16)
    assert any(len(row) > 1 for row in rows)
    with torch.no_grad():
        packed = forward(model, make_batch(split, rows, sequence_length=16, pad_id=PAD))
        for row, documents in enumerate(rows):
            end = 0
            for document in documents:
                ids = torch.from_numpy(split.ids[split.starts[document] : split.starts[document + 1]].astype(np.int64))
                alone = model(input_ids=ids[None]).logits[0]
                assert torch.allclose(packed[row, end : end + len(ids)], alone, atol=1e-4)
                end += len(ids)


def loss_and_gradient(model, split, rows, *, sequence_length=None):
    """Of a student that learns from the text and from a teacher, over rows that are read one by one, in fp64.

    A row is as long as its texts where no length is given. Every row counts by its targets, as in a training's step.
    """
    teacher = LocalTeacher(deepcopy(model).requires_grad_(False), 31, None)
    with torch.no_grad():
        for parameter in teacher.model.parameters():
            parameter.mul_(1.5)
    model.zero_grad()
    student = Objective(model, Distillation(), 31, "fp32", Chunking(rows=4))
    lengths = np.diff(split.starts)
    batches = [
        make_batch(split, [row], sequence_length=sequence_length or int(lengths[row].sum()), pad_id=PAD) for row in rows
    ]
    number = sum(batch.num_counted for batch in batches)
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        found = student(batch, teacher.targets(batch), Coefficients(alpha=0.5, temperature=2.0))
        assert found.teacher_loss > 0
        total += found.loss * batch.num_counted / number
    total.backward()
    return total.detach(), [parameter.grad.clone() for parameter in model.parameters()]


def assert_equal_in_fp64(one, other):
    torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)


def test_packed_equals_unpacked(split, model):
    model = deepcopy(model).double()
    rows = pack(split.starts, 16)
    assert max(map(len, rows)) > 1
    packed = loss_and_gradient(model, split, rows, sequence_length=16)
    unpacked = loss_and_gradient(model, split, [[document] for document in range(len(LENGTHS))])
    assert_equal_in_fp64(packed, unpacked)


def test_padded_equals_unpadded(split, model):
    model = deepcopy(model).double()
    unpadded = loss_and_gradient(model, split, [[1, 3], [0, 2, 4]])
    padded = loss_and_gradient(model, split, [[1, 3], [0, 2, 4]], sequence_length=40)
    assert_equal_in_fp64(padded, unpadded)


def test_every_target_of_the_split_is_a_label_once(split):
    batch = make_batch(split, pack(split.starts, 16), sequence_length=16, pad_id=PAD)
    labels = batch.labels[batch.labels != IGNORED]
    assert sorted(labels.tolist()) == sorted(split.ids[split.counted].tolist())


def test_an_epoch_takes_every_row_once_and_the_next_another_order():
    epochs = [[row for step in range(5) for row in rows_for_step(10, 5 * epoch + step, 2, 7)] for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


def test_a_step_may_cross_from_one_epoch_to_the_next():
    taken = [row for step in range(5) for row in rows_for_step(3, step, 4, 0)]
    assert all(sorted(taken[start : start + 3]) == [0, 1, 2] for start in range(0, 18, 3))


def test_the_order_is_a_function_of_seed_and_step_alone():
    late = rows_for_step(50, 13, 4, 3)
    for step in range(13):
        rows_for_step(50, step, 4, 3)
    assert rows_for_step(50, 13, 4, 3) == late
    assert rows_for_step(50, 13, 4, 4) != late
