import pytest

from evaluation.behaviour.recitation import measure_recitation, recited
from stillhouse.data.document import Document, write_documents

TEXT = "one two three four five six seven eight nine ten eleven twelve".split()


def test_a_copied_answer_is_recited_whole_and_one_of_our_own_not_at_all():
    shares, longest = recited([TEXT, "a b c d e f g h i".split()], [["x", *TEXT, "y"]])
    assert shares == [1, 0] and longest == [12, 0]


def test_a_run_is_counted_by_its_words_and_a_share_by_its_beginnings():
    # Words 1 to 9 of the text, then others: 2 of the answer's 5 runs of eight words stand there.
    shares, longest = recited([TEXT[:9] + ["a", "b", "c"]], [TEXT])
    assert shares == [pytest.approx(2 / 5)] and longest == [9]


def test_two_halves_of_two_texts_are_no_long_run():
    answer = TEXT[:8] + [f"other{number}" for number in range(8)]
    shares, longest = recited([answer], [TEXT, answer[8:]])
    assert shares == [pytest.approx(2 / 9)] and longest == [8]


def test_seven_words_are_no_run():
    assert recited([TEXT[:7]], [TEXT]) == ([0.0], [0])
    assert recited([TEXT[:7] + ["x"]], [TEXT]) == ([0.0], [0])


def test_answers_are_looked_up_in_the_training_texts_case_and_punctuation_aside(tmp_path):
    said = "One, two, THREE: four five six seven eight!"
    write_documents(tmp_path / "train.jsonl", [Document("set/1", "text", " ".join(TEXT))])
    rows = [{"greedy": said, "sampled": "nothing of it"}, {"greedy": "", "sampled": ""}]
    found = measure_recitation(rows, tmp_path)
    assert found["recitation_share"].values == (0.5, 0.0)
    assert found["recitation_longest"].values == (8.0, 0.0)
