import random
import re

import pytest

from evaluation.behaviour.typing_errors import add_typing_errors, mistype, neighbours

TEXT = "Which technology was developed most recently, and by whom? It is 1 of 4: see (A) below."


def test_the_same_seed_and_document_make_the_same_errors_and_others_make_others():
    assert add_typing_errors(TEXT, seed=1, document=5) == add_typing_errors(TEXT, seed=1, document=5)
    made = {add_typing_errors(TEXT, seed=seed, document=number) for seed in range(4) for number in range(4)}
    assert len(made) > 12


def test_a_fixed_share_of_the_longer_words_changes_and_nothing_else():
    text = " ".join(["alpha beta gamma delta of the"] * 25)
    typed = add_typing_errors(text, seed=0, document=0)
    pairs = list(zip(text.split(" "), typed.split(" "), strict=True))
    changed = [before for before, after in pairs if before != after]
    assert len(changed) == round(0.15 * 100)
    assert min(map(len, changed)) >= 4


def test_a_short_question_gets_one_error_and_a_text_without_words_none():
    assert add_typing_errors("Why rain?", seed=0, document=0) != "Why rain?"
    assert add_typing_errors("1 + 1 = ? so is it", seed=0, document=0) == "1 + 1 = ? so is it"


def test_what_is_no_letter_stays_where_it_is():
    typed = add_typing_errors(TEXT, seed=3, document=3)
    assert re.sub("[A-Za-z]", "", typed) == re.sub("[A-Za-z]", "", TEXT)


@pytest.mark.parametrize("word", ["mouse", "aaaa", "Book", "NASA"])
def test_a_mistyped_word_is_another_word_of_one_letter_more_or_less_at_most(word):
    for seed in range(50):
        typed = mistype(word, random.Random(seed))
        assert typed != word
        assert abs(len(typed) - len(word)) <= 1


def test_all_four_errors_are_made():
    kinds = set()
    for seed in range(60):
        typed = mistype("mouse", random.Random(seed))
        if len(typed) != 5:
            kinds.add("drop" if len(typed) < 5 else "double")
        else:
            kinds.add("swap" if sorted(typed) == sorted("mouse") else "neighbour")
    assert kinds == {"neighbour", "swap", "drop", "double"}


def test_neighbours_are_the_keys_that_touch():
    assert set(neighbours("q")) == set("wa")
    assert set(neighbours("g")) == set("ftyhvb")
    assert set(neighbours("m")) == set("njk")
    for letter in "abcdefghijklmnopqrstuvwxyz":
        assert all(letter in neighbours(other) for other in neighbours(letter))
