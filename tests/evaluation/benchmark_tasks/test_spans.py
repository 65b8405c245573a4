import pytest

from evaluation.benchmark_tasks.spans import f1_of_answers


def test_words_in_common_by_hand():
    # Two of three words given, two of two right ones: precision 2/3, recall 1.
    assert f1_of_answers("Saint Bernadette Soubirous", ["Bernadette Soubirous"]) == pytest.approx(0.8)
    assert f1_of_answers("cat cat", ["cat"]) == pytest.approx(2 / 3)


def test_the_best_of_several_right_answers_counts():
    assert f1_of_answers("23", ["23 years", "23"]) == 1.0


def test_case_articles_and_punctuation_do_not_count():
    assert f1_of_answers("The  Game!", ["a game"]) == 1.0


def test_nothing_matches_only_nothing():
    assert f1_of_answers("", ["word"]) == 0.0
    assert f1_of_answers("the", [""]) == 1.0
