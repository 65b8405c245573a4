import numpy as np
import pytest
from tokenizers import processors

from stillhouse.data.chat import encode_batch, render
from stillhouse.data.document import Document
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import opening_ids

LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|im_start|>[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }} <|im_end|>{% endif %}{% endfor %}"
)
# As templates of reasoning models do, this one leaves the thoughts of all answers but the last out.
FORGETFUL = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}"


def chat(*contents, ended=True):
    roles = ("user", "assistant") * len(contents)
    messages = tuple({"role": role, "content": content} for role, content in zip(roles, contents, strict=False))
    return Document("set/1", "messages", messages, ended=ended)


def targets(tokenizer, document):
    (encoded,) = encode_batch(tokenizer, [document])
    return tokenizer.decode(encoded.ids[encoded.counted])


def test_of_a_text_all_but_the_first_token_are_targets(byte_tokenizer):
    (encoded,) = encode_batch(byte_tokenizer, [Document("set/1", "text", "abcd")])
    assert encoded.ids.tolist() == byte_tokenizer("abcd", add_special_tokens=False)["input_ids"]
    assert encoded.counted.tolist() == [False, True, True, True]
    assert encoded.num_bytes.tolist() == [1, 1, 1, 1]


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(byte_tokenizer):
    text = "aü€😀 \n x"
    (encoded,) = encode_batch(byte_tokenizer, [Document("set/1", "text", text)])
    assert encoded.num_bytes.sum() == len(text.encode()) == 14


def test_of_a_conversation_the_answer_and_the_end_of_its_turn_are_targets(byte_tokenizer):
    assert targets(byte_tokenizer, chat("hi", "hello")) == "hello<|im_end|>"


def test_every_answer_of_a_conversation_is_a_target(byte_tokenizer):
    assert targets(byte_tokenizer, chat("hi", "hello", "hello", "bye")) == "hello<|im_end|>bye<|im_end|>"


def test_nothing_follows_the_last_target(byte_tokenizer):
    (encoded,) = encode_batch(byte_tokenizer, [chat("hi", "hello")])
    assert byte_tokenizer.decode(encoded.ids) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>"
    )
    assert encoded.counted[-1]


def test_special_tokens_spell_no_bytes(byte_tokenizer):
    (encoded,) = encode_batch(byte_tokenizer, [chat("hi", "hellö")])
    assert encoded.num_bytes[encoded.counted].sum() == 6


def test_the_end_of_a_cut_off_answer_is_no_target(byte_tokenizer):
    assert targets(byte_tokenizer, chat("hi", "hello", "go on", "and th", ended=False)) == "hello<|im_end|>and th"


def test_a_template_without_a_generation_prompt_works(byte_tokenizer):
    byte_tokenizer.chat_template = LLAMA2
    assert targets(byte_tokenizer, chat("hi", "hello", "ok", "bye")) == " hello <|im_end|> bye <|im_end|>"


def test_a_template_that_rewrites_earlier_turns_works(byte_tokenizer):
    byte_tokenizer.chat_template = FORGETFUL
    found = targets(byte_tokenizer, chat("hello", "hello", "ok", "bye"))
    assert found == "hello<|im_end|><think></think>bye<|im_end|>"


def test_special_tokens_are_not_added_twice(byte_tokenizer):
    byte_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", byte_tokenizer.bos_token_id)]
    )
    assert byte_tokenizer("x")["input_ids"][0] == byte_tokenizer.bos_token_id
    text, conversation = encode_batch(byte_tokenizer, [Document("set/1", "text", "xy"), chat("hi", "hello")])
    assert len(text.ids) == 2
    assert np.count_nonzero(conversation.ids == byte_tokenizer.bos_token_id) == 2


def test_a_text_stands_behind_the_special_tokens_of_its_tokenizer(byte_tokenizer):
    assert opening_ids(byte_tokenizer) == []
    text = encode_batch(byte_tokenizer, [Document("set/1", "text", "xyz")])[0]
    assert text.behind([]) is text
    byte_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", byte_tokenizer.bos_token_id), ("<|im_end|>", byte_tokenizer.eos_token_id)],
    )
    opening = opening_ids(byte_tokenizer)
    assert opening == [byte_tokenizer.bos_token_id]
    found = text.behind(opening)
    assert found.ids.tolist() == [*opening, *text.ids] and found.ids.dtype == text.ids.dtype
    assert found.counted.tolist() == [False, True, True, True]
    assert found.num_bytes.tolist() == [0, 1, 1, 1] and found.ends.tolist() == [0, 1, 2, 3]
    # A text that begins with it already.
    assert found.behind(opening) is found


def test_a_model_without_a_template_is_named(byte_tokenizer):
    byte_tokenizer.chat_template = None
    byte_tokenizer.name_or_path = "org/base"
    with pytest.raises(InputError, match="the model org/base has no chat template"):
        encode_batch(byte_tokenizer, [chat("hi", "hello")])


def test_a_conversation_that_the_template_refuses_is_named(byte_tokenizer):
    byte_tokenizer.chat_template = STRICT
    document = Document("set/7", "messages", ({"role": "assistant", "content": "hi"},))
    with pytest.raises(InputError, match="document set/7: .*user first"):
        encode_batch(byte_tokenizer, [document])


def test_a_prompt_ends_with_what_makes_the_model_answer(byte_tokenizer):
    text = render(byte_tokenizer, chat("hi").messages, answer_next=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
