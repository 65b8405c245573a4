from collections import Counter

import pytest

from stillhouse.data.splits import SPLITS, assign_splits, normalised, split_of
from stillhouse.errors import InputError


def test_case_and_white_space_make_no_other_document():
    assert normalised("  The\tCat\r\n sat ") == "the cat sat"
    assert split_of("The  cat", seed=3) == split_of("the cat\n", seed=3)


def test_shares_are_ninety_five_and_five():
    counts = Counter(split_of(f"document {number}", seed=0) for number in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.90, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.05, abs=0.005)
    assert counts["held_out"] / 20_000 == pytest.approx(0.05, abs=0.005)


def test_another_seed_gives_another_split():
    texts = [f"document {number}" for number in range(200)]
    assert [split_of(text, seed=0) for text in texts] != [split_of(text, seed=1) for text in texts]


def test_more_texts_move_none_that_was_there():
    texts = [f"document {number}" for number in range(500)]
    few, many = assign_splits(texts[:300], seed=0), assign_splits(texts, seed=0)
    assert all(many[text] == few[text] for text in texts[:300])


@pytest.mark.parametrize("seed", range(20))
def test_four_texts_fill_three_splits_with_two_held_out(seed):
    splits = assign_splits(["one", "two", "three", "four"], seed=seed)
    assert sorted(splits.values()) == sorted([*SPLITS, "held_out"])


@pytest.mark.parametrize("seed", range(20))
def test_a_handful_leaves_no_split_empty_and_is_the_same_in_any_order(seed):
    texts = [f"text {number}" for number in range(7)]
    splits = assign_splits(texts, seed=seed)
    assert set(splits.values()) == set(SPLITS)
    assert list(splits.values()).count("held_out") >= 2
    assert splits == assign_splits(reversed(texts), seed=seed)


def test_two_texts_are_too_few_and_the_message_says_how_many_are_needed():
    with pytest.raises(InputError, match="hold 1 distinct document, .* give 4 or more"):
        assign_splits(["one", "one"], seed=0)


def test_a_set_with_a_held_out_file_keeps_its_held_out_share_in_training():
    texts = [f"text {number}" for number in range(100)]
    plain = assign_splits(texts, seed=0)
    kept = assign_splits(texts, seed=0, kept=set(texts), needed=("train", "validation"))
    assert "held_out" not in kept.values()
    assert {text for text in texts if plain[text] == "validation"} == {
        text for text in texts if kept[text] == "validation"
    }
