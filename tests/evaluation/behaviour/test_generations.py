import json
import shutil

import pytest

from evaluation.behaviour.generations import measure_generations, repetition
from evaluation.behaviour.prompts import all_prompts
from evaluation.lm_eval_model import scorer_of
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def test_repetition_counts_runs_of_four_tokens_that_stood_there_before():
    assert repetition([1, 2, 3]) == 0
    assert repetition([1, 2, 3, 4, 5]) == 0
    # Seven runs, of which 1111 stands there first and the six others are copies.
    assert repetition([1] * 10) == pytest.approx(6 / 7)
    # 1234, 2341, 3412, 4123, 1234: one of five is a copy.
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)


@pytest.mark.parametrize("template", [True, False])
def test_every_prompt_is_answered_both_ways_and_measures_are_means_over_prompts(roomy_model, template, tmp_path):
    model = shutil.copytree(roomy_model, tmp_path / "model")
    if not template:
        (model / "chat_template.jinja").unlink()
    scorer = scorer_of(model, compute=COMPUTE, batch_size=3)
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


def test_an_end_token_ends_an_answer_and_is_counted(roomy_model, tmp_path):
    """The control: a model whose every token is an end token ends at once."""
    model = shutil.copytree(roomy_model, tmp_path / "model")
    config = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))
    every = {**config, "eos_token_id": list(range(300))}
    (model / "generation_config.json").write_text(json.dumps(every), encoding="utf-8")
    scorer = scorer_of(model, compute=COMPUTE, batch_size=2)
    measures, _ = measure_generations(scorer, Behaviour(prompts=3, new_tokens=9), seed=0)
    assert measures["generations_greedy_ends_itself"].values == (1.0, 1.0, 1.0)
    assert measures["generations_sampled_tokens"].values == (1.0, 1.0, 1.0)


def test_an_answer_that_does_not_fit_the_context_is_refused(tiny_model):
    scorer = scorer_of(tiny_model, compute=COMPUTE, batch_size=2)
    with pytest.raises(InputError, match="answers of 128 tokens, but the model's context holds 128; ask for fewer"):
        measure_generations(scorer, Behaviour(prompts=2, new_tokens=128), seed=0)


def test_prompts_longer_than_the_context_are_counted_and_told(tiny_model):
    scorer = scorer_of(tiny_model, compute=COMPUTE, batch_size=8)
    measures, rows = measure_generations(scorer, Behaviour(prompts=15, new_tokens=4), seed=0)
    cut = [row["kind"] for row in rows if row["greedy_cut"]]
    assert "very long" in cut and "question" not in cut
    method = measures["generations_greedy_tokens"].about.method
    assert f"; {len(cut)} of 15 prompts lost their beginning" in method and "in the chat template" in method
