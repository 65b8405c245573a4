from evaluation.behaviour.prompts import Prompt, spell
from stillhouse.models.load import load_tokenizer

PROMPT = Prompt("system", "My chain keeps falling off.", system="Answer in one short sentence.")
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
)


def test_a_system_text_stands_where_the_template_puts_it(tiny_model):
    assert "<|start|>system\nAnswer in one short sentence.<|end|>" in spell(PROMPT, load_tokenizer(tiny_model))


def test_where_a_template_knows_no_system_role_the_user_says_it(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = REFUSING
    assert spell(PROMPT, tokenizer) == "<user>Answer in one short sentence.\n\nMy chain keeps falling off."


def test_a_model_without_a_template_gets_plain_text(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = None
    assert spell(PROMPT, tokenizer) == "Answer in one short sentence.\n\nMy chain keeps falling off."
