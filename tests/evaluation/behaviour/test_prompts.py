from evaluation.behaviour.prompts import Prompt, all_prompts, spell, template_words
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


def test_edge_cases_are_among_those_that_are_asked_by_default():
    edges = {prompt.kind: prompt for prompt in all_prompts()[: Behaviour().prompts] if prompt.edge}
    kinds = {"empty", "very long", "system override", "broken code", "unicode noise", "large numbers", "looks unsafe"}
    assert kinds | {"German", "Japanese", "Arabic"} <= set(edges)
    assert edges["empty"].prompt == "" and len(edges["very long"].prompt) > 2000


def test_a_prompt_is_written_as_the_template_has_it_or_plain_where_there_is_none(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    assert spell(PROMPT, tokenizer) == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\nWhy?<|end|>\n<|start|>assistant\n"
    )
    tokenizer.chat_template = None
    assert spell(PROMPT, tokenizer) == "Be brief.\n\nWhy?"
    assert spell(Prompt("question", "Why?"), tokenizer) == "Why?"
    assert template_words(tokenizer) == "in plain text, since the model has no chat template"


def test_an_empty_prompt_is_at_least_one_token(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    assert template_words(tokenizer) == "in the chat template"
    tokenizer.chat_template = None
    assert len(tokenizer.encode(spell(Prompt("empty", ""), tokenizer))) == 1


def test_where_a_template_knows_no_system_role_the_user_says_it(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = REFUSING
    assert spell(PROMPT, tokenizer) == "<user>Be brief.\n\nWhy?"
