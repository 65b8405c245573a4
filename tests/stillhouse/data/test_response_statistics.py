"""Every value here is worked out by hand."""

import math

import pytest

from stillhouse.data.response_statistics import (
    Response,
    agreement,
    agreements,
    distinct,
    repeats,
    sample_entropy,
    summary,
)


def response(text, ids, *, prompt="set/0", ended=True, entropy=1.0, right=None):
    return Response(prompt, text, tuple(ids), ended, entropy, right)


def test_distinct_n_is_different_runs_over_all_runs():
    # 1 2, 2 1, 1 2 and 1 2, 2 3: five pairs, of which 1 2, 2 1 and 2 3 are different.
    assert distinct([[1, 2, 1, 2], [1, 2, 3]], 2) == pytest.approx(3 / 5)
    assert distinct([[1, 2, 1, 2], [1, 2, 3]], 1) == pytest.approx(3 / 7)
    assert distinct([[1], [2]], 2) is None


def test_a_text_repeats_an_earlier_one_whatever_its_case_and_white_space():
    assert repeats(["Paris.", "Rome.", " paris. ", "PARIS.", "Paris"]) == [False, False, True, True, False]


def test_the_entropy_of_samples_is_that_of_the_shares_that_say_the_same():
    assert sample_entropy(["7", "7 ", "7"]) == 0
    assert sample_entropy(["a", "b", "c", "d"]) == pytest.approx(math.log(4))
    # Three quarters and one quarter.
    assert sample_entropy(["7", "7", "8", "7"]) == pytest.approx(math.log(4) - 0.75 * math.log(3))


def test_two_texts_agree_by_the_words_that_they_share():
    # Shared: the, cat. 3 and 4 words.
    assert agreement("the cat sat", "The cat is black") == pytest.approx(2 * 2 / 7)
    # A word counts as often as both have it.
    assert agreement("no no no", "no no yes") == pytest.approx(2 * 2 / 6)
    assert agreement("", " ") == 1 and agreement("a", "") == 0


def test_the_text_that_agrees_most_is_of_the_majority():
    found = agreements(["it is 7", "it is 8", "it is 7"])
    # With each other 1, with the odd one 2 of 3 words.
    assert found == pytest.approx([(1 + 2 / 3) / 2, 2 / 3, (1 + 2 / 3) / 2])


def test_a_summary_is_over_responses_tokens_or_prompts_as_each_figure_says():
    groups = [
        [
            response("7", [7, 2], entropy=0.5, right=True),
            response("7", [7, 2], entropy=0.5, right=True),
            response("it is 8", [3, 4, 8, 5, 5, 5], ended=False, entropy=2.0, right=False),
        ],
        [response("no", [9, 2], prompt="set/1", entropy=1.0)],
        [response("9", [9, 2], prompt="set/2", entropy=1.0, right=False)],
    ]
    found = summary(groups)
    # Lengths 2, 2, 6, 2, 2.
    assert (found["tokens_mean"], found["tokens_p50"]) == (pytest.approx(2.8), 2)
    # At 3.6 of the places from 0 to 4, between 2 and 6.
    assert found["tokens_p90"] == pytest.approx(2 + 0.6 * 4)
    assert found["ended_share"] == pytest.approx(4 / 5)
    # A mean over the 14 tokens.
    assert found["token_entropy_nats"] == pytest.approx((2 * 0.5 + 2 * 0.5 + 6 * 2 + 2 + 2) / 14)
    assert found["duplicate_share"] == pytest.approx(1 / 5)
    # Thirds of which two say the same; nothing to differ from in the others.
    assert found["sample_entropy_nats"] == pytest.approx((math.log(3) - 2 / 3 * math.log(2)) / 3)
    # 7 and 7 agree wholly, with the third in no word; a lone response has nobody to agree with.
    assert found["agreement"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found["verified_share"] == pytest.approx(2 / 4)
    assert found["verified_prompts_share"] == pytest.approx(1 / 2)


def test_of_nothing_there_are_no_statistics():
    assert set(summary([]).values()) == {None}
    assert summary([[response("no", [9, 2])]])["verified_share"] is None
