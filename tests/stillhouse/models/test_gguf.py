import numpy as np
import pytest
from transformers import AutoTokenizer

from stillhouse.errors import InputError
from stillhouse.models.gguf import licence_of, quantization_of, read_header, shape_of
from stillhouse.models.gguf_tokenizer import tokenizer_of_gguf
from stillhouse.models.sources import tokenizer_of
from stillhouse.models.tokenizer import tokenizer_digest


@pytest.fixture(scope="module")
def rebuilt(smollm2):
    return tokenizer_of(smollm2)


def test_smollm2_states_how_its_weights_were_quantized(smollm2):
    header = read_header(smollm2.path)
    assert quantization_of(header) == "Q4_1, embedding Q8_0"
    assert licence_of(header) == "apache-2.0"


def test_smollm2_has_the_special_tokens_that_its_file_names(rebuilt):
    assert (rebuilt.bos_token, rebuilt.eos_token, rebuilt.eos_token_id) == ("<|im_start|>", "<|im_end|>", 2)
    assert (rebuilt.pad_token_id, rebuilt.unk_token) == (2, "<|endoftext|>")
    assert len(rebuilt) == 49_152
    assert rebuilt.convert_ids_to_tokens(rebuilt("<|im_end|> a").input_ids) == ["<|im_end|>", "Ġa"]
    assert rebuilt.decode(rebuilt("<|im_start|>so<|im_end|>").input_ids, skip_special_tokens=True) == "so"


def test_smollm2_adds_no_bos_and_splits_digits_one_by_one(rebuilt):
    assert rebuilt.convert_ids_to_tokens(rebuilt("2024").input_ids) == ["2", "0", "2", "4"]
    assert set(rebuilt("in 2024")) == {"input_ids", "attention_mask"}


def test_smollm2_spells_every_text_back_to_the_letter(rebuilt, passages):
    texts = [*passages, "a  b ,c !  \n\t 'tis  don 't", "naïve 東京 🙂", ""]
    assert [rebuilt.decode(rebuilt(text).input_ids) for text in texts] == texts


def test_smollm2_renders_its_chat_template(rebuilt):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert rebuilt.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == expected


def test_the_conversion_by_transformers_fails_all_that_the_rebuilt_tokenizer_passes(write_gguf):
    path = write_gguf(add_add_bos_token=False)
    rebuilt = tokenizer_of_gguf(read_header(path))
    converted = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert (converted.eos_token, converted.pad_token) == ("<|im_start|>", None)
    assert (rebuilt.eos_token, rebuilt.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert converted.convert_ids_to_tokens(converted("the 20").input_ids) == ["<|im_start|>", "t", "he", "Ġ", "20"]
    assert rebuilt.convert_ids_to_tokens(rebuilt("the 20").input_ids) == ["t", "he", "Ġ", "2", "0"]
    assert converted.decode(converted("a  ,b !", add_special_tokens=False).input_ids) == "a ,b!"
    assert rebuilt.decode(rebuilt("a  ,b !").input_ids) == "a  ,b !"
    assert tokenizer_digest(converted) != tokenizer_digest(rebuilt)


def test_a_rebuilt_tokenizer_is_the_one_it_was_written_from(write_gguf, llama_tokenizer):
    rebuilt = tokenizer_of_gguf(read_header(write_gguf()))
    assert tokenizer_digest(rebuilt) == tokenizer_digest(llama_tokenizer)
    assert rebuilt(" the 2020").input_ids == llama_tokenizer(" the 2020").input_ids


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", ["Ġthe", "Ġ", "2", "0", "2", "0", "!"]),
        ("gpt-2", ["Ġthe", "Ġ", "20", "20", "!"]),
        ("llama-bpe", ["Ġthe", "Ġ", "20", "2", "0", "!"]),
        ("qwen2", ["Ġthe", "Ġ", "2", "0", "2", "0", "!"]),
    ],
)
def test_each_pre_tokenizer_splits_digits_in_its_own_way(write_gguf, pre, pieces):
    tokenizer = tokenizer_of_gguf(read_header(write_gguf(pre=pre, add_add_bos_token=False)))
    assert tokenizer.convert_ids_to_tokens(tokenizer(" the 2020!").input_ids) == pieces
    assert tokenizer.decode(tokenizer(" the 2020!").input_ids) == " the 2020!"


@pytest.mark.parametrize(
    ("pre", "fields", "first"),
    [
        ("smollm", {}, "a"),
        ("smollm", {"add_add_bos_token": True}, "<|im_start|>"),
        ("llama-bpe", {}, "<|im_start|>"),
        ("llama-bpe", {"add_add_bos_token": False}, "a"),
    ],
)
def test_bos_is_prepended_only_where_the_file_or_its_family_says_so(write_gguf, pre, fields, first):
    tokenizer = tokenizer_of_gguf(read_header(write_gguf(pre=pre, **fields)))
    assert tokenizer.convert_ids_to_tokens(tokenizer("a").input_ids)[0] == first


def test_tokens_of_the_user_are_kept_whole_and_unused_ones_left_out(write_gguf):
    tokenizer = tokenizer_of_gguf(read_header(write_gguf(token_kinds={"20": 4, "~": 5})))
    assert tokenizer.convert_ids_to_tokens(tokenizer(" the 2020").input_ids) == ["Ġthe", "Ġ", "20", "20"]
    assert tokenizer.decode(tokenizer("20").input_ids, skip_special_tokens=True) == "20"
    assert "~" not in tokenizer.get_vocab()


def test_merges_of_tokens_that_are_not_there_are_refused(write_gguf):
    with pytest.raises(InputError, match="do not fit together: .*`Ġthe`"):
        tokenizer_of_gguf(read_header(write_gguf(token_kinds={"Ġthe": 5})))


def test_an_end_token_pads_where_the_file_names_no_padding(write_gguf):
    assert tokenizer_of_gguf(read_header(write_gguf())).pad_token == "<|im_end|>"


def test_an_unknown_pre_tokenizer_is_refused_by_name(write_gguf):
    with pytest.raises(InputError, match=r"'deepseek-llm'.*smollm.*tokenizer\.json"):
        tokenizer_of_gguf(read_header(write_gguf(pre="deepseek-llm")))


def test_a_sentencepiece_tokenizer_is_refused(write_gguf):
    with pytest.raises(InputError, match=r"kind 'llama'.*tokenizer\.json"):
        tokenizer_of_gguf(read_header(write_gguf(model="llama")))


def test_the_size_of_a_model_is_counted_from_its_tensor_list(write_gguf, llama):
    shape = shape_of(read_header(write_gguf()))
    assert (shape.layers, shape.hidden_size, shape.context_length) == (2, 32, 128)
    assert shape.vocabulary_size == llama.config.vocab_size
    assert shape.parameters == llama.num_parameters()


@pytest.mark.parametrize(("kind", "expected"), [("F32", "none"), ("F16", "none"), ("Q8_0", "Q8_0"), ("Q4_1", "Q4_1")])
def test_quantization_is_the_storage_type_of_the_matrices(write_gguf, kind, expected):
    assert quantization_of(read_header(write_gguf(kind=kind))) == expected


def test_a_file_that_is_not_gguf_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"<!doctype html>")
    with pytest.raises(InputError, match="not a GGUF file: it starts with b'<!do'"):
        read_header(path)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.999])
def test_a_file_cut_short_anywhere_is_refused(write_gguf, share):
    path = write_gguf()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut short or damaged|not a GGUF file"):
        read_header(path)


def test_scaled_rotary_positions_are_refused_because_transformers_drops_them(write_gguf):
    factors = [("rope_freqs.weight", np.ones(4, dtype=np.float32))]
    with pytest.raises(InputError, match="scales its rotary positions"):
        read_header(write_gguf(extra_tensors=factors))


def test_a_file_without_a_language_model_is_refused(write_gguf):
    with pytest.raises(InputError, match="holds no language model"):
        read_header(write_gguf(without=["token_embd.weight"]))
