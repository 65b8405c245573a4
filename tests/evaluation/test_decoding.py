import numpy as np
import pytest

from evaluation.decoding import (
    Decoding,
    all_end_ids,
    draw_token,
    generator_of,
    log_softmax,
    nucleus,
    until_end,
)


def test_a_generation_setting_that_is_not_heeded_is_refused():
    with pytest.raises(ValueError, match="unknown generation_kwargs num_beams"):
        Decoding.of_request({"num_beams": 4})


def test_the_nucleus_is_the_fewest_tokens_that_hold_the_share():
    logits = np.log(np.array([0.1, 0.5, 0.25, 0.15], dtype=np.float32))
    assert nucleus(logits, 1.0, 0.7) == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert nucleus(logits, 1.0, 1.0) == pytest.approx([0.1, 0.5, 0.25, 0.15])
    assert nucleus(logits, 0.5, 0.5) == pytest.approx([0, 1, 0, 0])


def test_a_nucleus_among_many_tokens_is_that_of_sorting_them_all():
    logits = np.random.default_rng(0).normal(size=5000).astype(np.float32) * 3
    shares = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    # 0.9 lies among the likeliest thousand, 0.9999 does not.
    for top_p in (0.9, 0.9999):
        order = np.argsort(-shares, kind="stable")
        kept = order[np.cumsum(shares[order]) - shares[order] < top_p]
        expected = np.zeros(5000)
        expected[kept] = shares[kept] / shares[kept].sum()
        np.testing.assert_allclose(nucleus(logits, 1.0, top_p), expected, rtol=1e-5, atol=1e-12)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits, decoding = np.log(np.array([0.1, 0.5, 0.25, 0.15], dtype=np.float32)), Decoding(1, (), 1.0, 0.9, 5)
    generator = generator_of(decoding, 0)
    drawn = np.bincount([draw_token(logits, decoding, generator) for _ in range(4000)], minlength=4) / 4000
    # The least likely lies outside of 0.9; three standard errors of a half are 0.024.
    assert drawn == pytest.approx([0, 5 / 9, 2.5 / 9, 1.5 / 9], abs=0.025)


def test_generation_settings_of_lm_eval_are_read():
    assert Decoding.of_request({"until": "\n", "max_gen_toks": 3}) == Decoding(new_tokens=3, until=("\n",))
    # lm-eval's tasks name a temperature even where nothing is drawn.
    assert Decoding.of_request({"do_sample": False, "temperature": 0.7}).temperature == 0
    assert Decoding.of_request({"do_sample": True, "temperature": 0.7}).temperature == 0.7


def test_an_answer_ends_with_its_end_token_and_padding_is_cut():
    ended = until_end([5, 6, 2, 0, 0], frozenset({2}))
    assert (ended.ids, ended.ended) == ((5, 6, 2), True)
    cut = until_end([5, 6], frozenset({2}))
    assert (cut.ids, cut.ended) == ((5, 6), False)


def test_end_tokens_are_the_tokenizers_and_those_the_model_states():
    tokenizer = type("Tokenizer", (), {"eos_token_id": 2})()
    assert all_end_ids(tokenizer, [7]) == {2, 7}


def test_log_probabilities_sum_to_1_however_large_the_logits():
    log_probs = log_softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]], dtype=np.float32))
    assert np.exp(log_probs) == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))
