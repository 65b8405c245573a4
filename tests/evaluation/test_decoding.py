import numpy as np
import pytest

from evaluation.decoding import Decoding, all_end_ids, log_softmax, nucleus, until_end


def test_a_generation_setting_that_is_not_heeded_is_refused():
    with pytest.raises(ValueError, match="unknown generation_kwargs num_beams"):
        Decoding.of_request({"num_beams": 4})


def test_the_nucleus_is_the_fewest_tokens_that_hold_the_share():
    logits = np.log(np.array([0.1, 0.5, 0.25, 0.15], dtype=np.float32))
    assert nucleus(logits, 1.0, 0.7) == pytest.approx([0, 2 / 3, 1 / 3, 0])
    assert nucleus(logits, 1.0, 1.0) == pytest.approx([0.1, 0.5, 0.25, 0.15])
    assert nucleus(logits, 0.5, 0.5) == pytest.approx([0, 1, 0, 0])


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
