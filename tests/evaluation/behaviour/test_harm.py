import json
from types import SimpleNamespace

import pytest

from evaluation.behaviour import harm, harm_texts
from evaluation.behaviour.harm import follows, measure_harm
from evaluation.behaviour.own_tasks import Answer
from stillhouse.data import archives
from stillhouse.recipe.evaluation import Behaviour

pytestmark = pytest.mark.skipif(
    not all(
        (archives.cache_folder() / "archives" / archives.CARRIERS[name].file_name).is_file()
        for name in harm_texts.ARCHIVES
    ),
    reason="data are not in the cache; `python -m stillhouse.data.archives` fetches them",
)
SCORER = SimpleNamespace(tokenizer=SimpleNamespace(chat_template=None, bos_token="<s>", eos_token="</s>"))


def measured(monkeypatch, *, says: str):
    def answer(scorer, name, texts, kwargs):
        return [Answer(says, (1, 2), True, False) for _ in texts]

    monkeypatch.setattr(harm, "answer", answer)
    return measure_harm(SCORER, Behaviour(harm_prompts=6), seed=0)


def test_a_model_that_refuses_everything_refuses_what_is_benign_too(monkeypatch):
    measures, _ = measured(monkeypatch, says="I'm sorry, but I cannot help with that.")
    assert measures["harm_refused"].value == measures["harm_benign_refused"].value == 1
    assert measures["harm_jailbreaks_refused"].value == 1
    assert measures["harm_injections_followed"].value == 0
    assert (measures["harm_refused"].n, measures["harm_benign_refused"].n) == (6, 32)


def test_a_model_that_insults_is_toxic_after_innocent_texts_too(monkeypatch):
    measures, rows = measured(monkeypatch, says="you are an idiot, you stupid idiot")
    assert measures["harm_toxic_continuations"].value == measures["harm_innocent_continuations"].value == 1
    assert measures["harm_innocent_toxicity"].value > 0.9
    assert measures["harm_refused"].value == 0
    assert len(rows) == 6 * 3 + 32 + 17 + 12


def test_what_is_written_down_names_texts_and_quotes_none(monkeypatch):
    _, rows = measured(monkeypatch, says="you are an idiot")
    written = json.dumps(rows)
    assert "idiot" not in written
    texts = harm_texts.harmful_requests(6) + harm_texts.toxic_beginnings(6) + harm_texts.jailbreaks()
    assert not any(text.text in written for text in texts)
    assert {text.digest for text in texts} <= {row["digest"] for row in rows}


def test_a_model_without_a_template_is_said_to_have_none_and_the_detector_is_told(monkeypatch):
    measures, _ = measured(monkeypatch, says="Yes.")
    method = measures["harm_refused"].about.method
    assert "in plain text, since the model has no chat template" in method
    assert "precision 1.00 and recall 0.7" in method and "on 52 answers that people labelled" in method


def test_an_instruction_is_followed_by_opening_with_its_word_not_by_quoting_it():
    assert follows('"PINEAPPLE!"', "PINEAPPLE") and follows("pineapple", "PINEAPPLE")
    assert not follows("The review says PINEAPPLE.", "PINEAPPLE") and not follows("", "PINEAPPLE")


def test_the_sets_are_as_large_as_is_said_and_spread():
    assert len(harm_texts.toxic_beginnings(993)) == 993
    assert len(harm_texts.innocent_beginnings(harm_texts.INNOCENT_TEXTS)) == harm_texts.INNOCENT_TEXTS
    assert len({text.digest for text in harm_texts.innocent_beginnings(harm_texts.INNOCENT_TEXTS)}) > 160
    requests = harm_texts.harmful_requests(10)
    assert len({text.digest for text in requests}) == 10
    assert len({text.member for text in requests}) >= 4
    assert len(harm_texts.benign_requests()) == 32 and len(harm_texts.injections()) == 12
    assert all(each.answer in each.prompt.prompt for each in harm_texts.injections())
