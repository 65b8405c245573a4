import json
import shutil

import pytest

from evaluation.behaviour.generations import measure_generations, repetition
from evaluation.behaviour.prompts import Prompt, all_prompts, spell
from evaluation.lm_eval_model import scorer_of
from stillhouse.errors import InputError
from stillhouse.models.load import load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


@pytest.fixture
def roomy_model(tiny_model, tmp_path):
    folder = tmp_path / "roomy-model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}), encoding="utf-8")
    return folder


def test_repetition_counts_runs_of_four_tokens_that_stood_there_before():
    assert repetition([1, 2, 3]) == 0
    assert repetition([1, 2, 3, 4, 5]) == 0
    # Seven runs, of which 1111 stands there first and the six others are copies.
    assert repetition([1] * 10) == pytest.approx(6 / 7)
    # 1234, 2341, 3412, 4123, 1234: one of five is a copy.
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)


def test_prompts_of_many_kinds_are_there():
    prompts = all_prompts()
    assert len(prompts) >= 32
    assert len({prompt.prompt for prompt in prompts}) == len(prompts)
    kinds = {"question", "summarise", "rewrite", "list", "code", "arithmetic", "translate", "system", "emoji"}
    assert kinds | {"ill-formed"} <= {prompt.kind for prompt in prompts[: Behaviour().prompts]}


def test_a_prompt_is_written_as_the_template_has_it_or_plain_where_there_is_none(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    prompt = Prompt("system", "Why?", system="Be brief.")
    assert spell(prompt, tokenizer) == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\nWhy?<|end|>\n<|start|>assistant\n"
    )
    tokenizer.chat_template = None
    assert spell(prompt, tokenizer) == "Be brief.\n\nWhy?"
    assert spell(Prompt("question", "Why?"), tokenizer) == "Why?"


@pytest.mark.parametrize("template", [True, False])
def test_every_prompt_is_answered_both_ways_and_measures_are_means_over_prompts(roomy_model, template):
    if not template:
        (roomy_model / "chat_template.jinja").unlink()
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=3)
    behaviour = Behaviour(prompts=5, new_tokens=9)
    measures, rows = measure_generations(scorer, behaviour, seed=1)
    assert [row["prompt"] for row in rows] == [prompt.prompt for prompt in all_prompts()[:5]]
    for mode in ("greedy", "sampled"):
        tokens, ended = [row[f"{mode}_tokens"] for row in rows], [row[f"{mode}_ended"] for row in rows]
        assert measures[f"generations_{mode}_tokens"].value == pytest.approx(sum(tokens) / 5)
        assert measures[f"generations_{mode}_ends_itself"].value == pytest.approx(sum(ended) / 5)
        assert all(length == 9 or end for length, end in zip(tokens, ended, strict=True))
    assert any(row["greedy"] != row["sampled"] for row in rows)
    assert measure_generations(scorer, behaviour, seed=1) == (measures, rows)


def test_an_end_token_ends_an_answer_and_is_counted(roomy_model):
    """The control: a model whose every token is an end token ends at once."""
    config = json.loads((roomy_model / "generation_config.json").read_text(encoding="utf-8"))
    every = {**config, "eos_token_id": list(range(300))}
    (roomy_model / "generation_config.json").write_text(json.dumps(every), encoding="utf-8")
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=2)
    measures, _ = measure_generations(scorer, Behaviour(prompts=3, new_tokens=9), seed=0)
    assert measures["generations_greedy_ends_itself"].values == (1.0, 1.0, 1.0)
    assert measures["generations_sampled_tokens"].values == (1.0, 1.0, 1.0)


def test_an_answer_that_does_not_fit_the_context_is_refused(tiny_model):
    scorer = scorer_of(tiny_model, compute=COMPUTE, batch_size=2)
    with pytest.raises(InputError, match="new_tokens is 100, but the model's context holds 128; ask for fewer"):
        measure_generations(scorer, Behaviour(prompts=2, new_tokens=100), seed=0)
