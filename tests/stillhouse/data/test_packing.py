import time

import numpy as np
import pytest

from stillhouse.data.packing import pack, pack_alike


def starts_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def test_documents_that_fit_together_share_a_row():
    assert sorted(map(sorted, pack(starts_of([6, 4, 7, 3]), 10))) == [[0, 1], [2, 3]]


def test_a_document_goes_where_it_leaves_the_least_room():
    assert sorted(map(sorted, pack(starts_of([5, 7, 3]), 10))) == [[0], [1, 2]]


def test_every_document_is_in_exactly_one_row_and_no_row_is_overfull():
    lengths = np.random.default_rng(0).integers(1, 257, size=10_000)
    started = time.perf_counter()
    rows = pack(starts_of(lengths), 256)
    assert time.perf_counter() - started < 1
    assert sorted(document for row in rows for document in row) == list(range(10_000))
    assert max(lengths[row].sum() for row in rows) <= 256
    assert len(rows) <= 11 / 9 * np.ceil(lengths.sum() / 256) + 1


def test_the_same_lengths_give_the_same_rows():
    starts = starts_of(np.random.default_rng(1).integers(1, 65, size=500))
    assert pack(starts, 64) == pack(starts.copy(), 64)


def test_a_document_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="document 1 has 11 tokens, and a row holds 10"):
        pack(starts_of([3, 11]), 10)


def test_no_documents_make_no_rows():
    assert pack(starts_of([]), 10) == []


def test_like_documents_share_rows_at_little_more_padding():
    lengths = np.random.default_rng(0).integers(5, 200, size=3000)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ordered = np.random.default_rng(1).permutation(3000)[:2500]
    place = np.full(3000, -1)
    place[ordered] = np.arange(2500)
    rows = pack_alike(starts, 256, ordered)
    assert sorted(document for row in rows for document in row) == sorted(ordered.tolist())
    assert max(lengths[row].sum() for row in rows) <= 256
    # A row's documents were at most one group of rows apart.
    assert max(np.ptp(place[row]) for row in rows) < 32 * 256 / lengths.mean() * 1.5
    assert len(rows) <= 1.06 * len(pack(starts, 256, ordered))
