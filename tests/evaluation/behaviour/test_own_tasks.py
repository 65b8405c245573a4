import pytest

from evaluation.behaviour import own_tasks
from evaluation.behaviour.own_tasks import Ranking, answer, cut_words, rank
from evaluation.lm_eval_model import scorer_of
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
GREEDY = {"until": [], "max_gen_toks": 5, "do_sample": False}


@pytest.fixture(scope="module")
def scorer(tiny_model):
    return scorer_of(tiny_model, compute=COMPUTE, batch_size=2)


def test_a_sentence_scores_as_the_model_itself_scores_it(tiny_model, scorer):
    import torch

    from stillhouse.models.load import load_model

    context, sentences = "The still drips", (" slowly.", " and rains there.")
    (found,) = rank(scorer, "sentences", [Ranking(context, sentences)]).scores
    model = load_model(tiny_model, device="cpu", dtype="fp32")
    for score, sentence in zip(found, sentences, strict=True):
        before, whole = scorer.tok_encode(context), scorer.tok_encode(context + sentence)
        with torch.inference_mode():
            log_probs_TV = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected = sum(float(log_probs_TV[place - 1, whole[place]]) for place in range(len(before), len(whole)))
        assert score == pytest.approx(expected, abs=1e-4)


def test_sentences_are_ranked_in_the_order_given_with_and_without_a_context(scorer):
    rankings = [Ranking("", ("A pot.", "Water and malt.")), Ranking("France", (" is", " it rains"))]
    found = rank(scorer, "sentences", rankings).scores
    again = rank(scorer, "sentences", [Ranking(each.context, each.sentences[::-1]) for each in rankings[::-1]]).scores
    assert [row[::-1] for row in again[::-1]] == [pytest.approx(row, abs=1e-4) for row in found]


def test_a_sentence_longer_than_the_context_is_refused(scorer):
    with pytest.raises(InputError, match="a sentence of pairs has .* tokens, and the model reads 128 at once"):
        rank(scorer, "pairs", [Ranking("", ("pot " * 200, "pot"))])


def test_a_context_that_is_too_long_to_read_whole_is_counted(scorer):
    rankings = [Ranking("pot " * 200, (" is", " it rains")), Ranking("France", (" is", " it rains"))]
    assert rank(scorer, "sentences", rankings).cut == 2


def test_answers_stand_in_the_prompts_order_and_one_that_does_not_fit_says_that_it_was_cut(scorer, monkeypatch):
    monkeypatch.setattr(own_tasks, "LONG_TOKENS", 20)
    texts = ["pot " * 200, "The still", "x " * 30, "Water, malt"]
    found = answer(scorer, "texts", texts, GREEDY)
    assert [each.cut for each in found] == [True, False, False, False]
    assert all(1 <= len(each.ids) <= 5 for each in found)
    alone = [answer(scorer, "texts", [text], GREEDY)[0] for text in texts]
    assert alone == found
    assert cut_words(found) == "; 1 of 4 prompts lost their beginning to fit the model's context"
    assert cut_words(found[1:]) == ""


def test_an_answer_that_would_fill_the_context_is_refused(scorer):
    with pytest.raises(InputError, match="answers of 128 tokens, but the model's context holds 128; ask for fewer"):
        answer(scorer, "texts", ["x"], {"until": [], "max_gen_toks": 128, "do_sample": False})
