from evaluation.behaviour.prompts import Prompt, all_prompts, spell
from stillhouse.models.load import load_tokenizer
from stillhouse.recipe.evaluation import Behaviour

PROMPT = Prompt("system", "Why?", system="Be brief.")
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
)


def test_prompts_of_many_kinds_are_there():
    prompts = all_prompts()
    assert len(prompts) >= 32
    assert len({prompt.prompt for prompt in prompts}) == len(prompts)
    kinds = {"question", "summarise", "rewrite", "list", "code", "arithmetic", "translate", "system", "emoji"}
    assert kinds | {"ill-formed"} <= {prompt.kind for prompt in prompts[: Behaviour().prompts]}


def test_a_prompt_is_written_as_the_template_has_it_or_plain_where_there_is_none(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    assert spell(PROMPT, tokenizer) == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\nWhy?<|end|>\n<|start|>assistant\n"
    )
    tokenizer.chat_template = None
    assert spell(PROMPT, tokenizer) == "Be brief.\n\nWhy?"
    assert spell(Prompt("question", "Why?"), tokenizer) == "Why?"


def test_where_a_template_knows_no_system_role_the_user_says_it(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = REFUSING
    assert spell(PROMPT, tokenizer) == "<user>Be brief.\n\nWhy?"
