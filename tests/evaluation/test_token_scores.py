from math import exp, inf, log, nan

import numpy as np
import pytest

from evaluation.token_scores import Pair, answer_score, batches_of, score_pairs
from stillhouse.serving.language_model import NotFinite


class Table:
    """A model over 4 tokens whose logits after a token are a row of a table."""

    def __init__(self, rows: dict[int, list[float]]):
        self.rows = rows
        self.passes: list[list[tuple[int, ...]]] = []

    def logits_of(self, batch, *, last=None):
        self.passes.append(list(batch))
        return [np.array([self.rows[token] for token in ids], dtype=np.float32)[-last:] for ids in batch]


def test_a_score_is_the_sum_of_log_probabilities_and_greedy_where_each_token_is_the_likeliest():
    logits = np.array([[0.0, 0.0, 9.0, 0.0], [log(1), log(2), log(4), log(1)], [0, 0, 0, log(5)]], dtype=np.float32)
    # 2/8 and 5/8: the row before belongs to the question.
    score = answer_score(logits, [1, 3])
    assert score.log_prob == pytest.approx(log(2 / 8) + log(5 / 8), abs=1e-6)
    assert not score.is_greedy
    assert answer_score(logits, [2, 3]) == (pytest.approx(log(4 / 8) + log(5 / 8), abs=1e-6), True)


def test_large_logits_do_not_overflow():
    score = answer_score(np.array([[1000.0, 999.0, -1000.0]], dtype=np.float32), [1])
    assert score.log_prob == pytest.approx(-1 - log(1 + exp(-1)), abs=1e-5)


def test_pairs_that_read_the_same_tokens_share_a_row():
    model = Table({0: [0, 1, 2, 3], 1: [0, 0, 0, 0]})
    scores = score_pairs(model, [Pair((0,), (1,)), Pair((0,), (2,)), Pair((0, 1), (3,))], 8)
    assert model.passes == [[(0,), (0, 1)]]
    assert scores[1].log_prob - scores[0].log_prob == pytest.approx(1)
    assert scores[2].log_prob == pytest.approx(-log(4))


@pytest.mark.parametrize("wrong", [nan, inf])
def test_a_score_that_is_no_number_is_refused_with_its_place(wrong: float):
    model = Table({0: [0, 1, 2, 3], 1: [0, wrong, 0, 0]})
    with pytest.raises(NotFinite) as refused:
        score_pairs(model, [Pair((0,), (1,)), Pair((0,), (3,)), Pair((1,), (2,))], 8)
    assert refused.value.row == 2


def test_what_is_longer_than_the_context_loses_its_beginning():
    assert Pair((1, 2, 3), (4, 5)).read(3) == (2, 3, 4)
    assert Pair((1, 2, 3), (4, 5)).read(4) == (1, 2, 3, 4)


def test_batches_hold_the_longest_first_and_equal_reads_once():
    reads = [(1,), (1, 2, 3), (1, 2), (1, 2, 3), (5,)]
    assert batches_of(reads, 2, 10) == [[1, 3, 2], [0, 4]]


def test_a_batch_is_smaller_where_its_logits_would_not_fit():
    # 2**29 bytes are 1,000 positions of 134,217 logits.
    reads = [tuple(range(number, number + 400)) for number in range(5)]
    assert [len(batch) for batch in batches_of(reads, 16, 134_217)] == [2, 2, 1]
    assert [len(batch) for batch in batches_of(reads, 16, 10)] == [5]
