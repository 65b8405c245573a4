import numpy as np
import pytest

from stillhouse.data.dataset import Split, read_split, write_split


def test_a_split_comes_back_as_it_was_written(tmp_path):
    split = Split(
        ids=np.array([5, 6, 7], dtype=np.int32),
        counted=np.array([False, True, False]),
        starts=np.array([0, 2, 3], dtype=np.int64),
        num_bytes=np.array([3, 0], dtype=np.int64),
        names=("a/1", "ü/2"),
    )
    write_split(tmp_path, "train", split)
    found = read_split(tmp_path, "train")
    for part in ("ids", "counted", "starts", "num_bytes"):
        expected = getattr(split, part)
        assert getattr(found, part).dtype == expected.dtype
        assert np.array_equal(getattr(found, part), expected)
    assert found.names == split.names
    assert (found.num_documents, found.num_tokens, found.num_targets) == (2, 3, 1)


def test_big_arrays_stay_on_disk(tmp_path):
    many = 100_000
    ids, one = np.zeros(many, dtype=np.int32), np.array([0, many])
    write_split(tmp_path, "held_out", Split(ids, np.ones(many, dtype=bool), one, np.array([9]), ("a/1",)))
    assert isinstance(read_split(tmp_path, "held_out").ids, np.memmap)


def test_a_split_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_split(tmp_path, "validation")
