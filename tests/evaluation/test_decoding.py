import numpy as np
import pytest

from evaluation.decoding import (
    Decoding,
    all_end_ids,
    draw_token,
    generator_of,
    until_end,
)


def test_a_generation_setting_that_is_not_heeded_is_refused():
    with pytest.raises(ValueError, match="unknown generation_kwargs num_beams"):
        Decoding.of_request({"num_beams": 4})


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
