import math

import pytest

from evaluation.behaviour import responses
from evaluation.behaviour.evaluate import BehaviourSettings, evaluate_behaviour
from evaluation.behaviour.responses import measure_responses
from evaluation.comparison import compare_behaviour
from evaluation.lm_eval_model import scorer_of
from evaluation.measure_names import behaviour_measures
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Behaviour, Evaluation

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def asked(**changes) -> Behaviour:
    return Behaviour(**{"suites": ("responses",), "prompts": 2, "new_tokens": 5, "responses": 3, **changes})


@pytest.fixture(scope="module")
def scorer(roomy_model):
    return scorer_of(roomy_model, compute=COMPUTE, batch_size=4)


@pytest.fixture(scope="module")
def measured(scorer):
    return measure_responses(scorer, asked(), seed=0)


def test_each_measure_is_a_number_a_prompt_of_what_was_written(measured):
    measures, rows = measured
    assert tuple(measures) == behaviour_measures(Evaluation(benchmarks=(), behaviour=asked()))
    assert len(rows) == 4 and {len(row["responses"]) for row in rows} == {3}
    for name, measure in measures.items():
        assert measure.n == (2 if name == "responses_verified" else 4), "tasks alone have a verifier"
    for row, tokens, ended in zip(
        rows, measures["responses_tokens"].values, measures["responses_ended"].values, strict=True
    ):
        assert tokens == pytest.approx(sum(each["tokens"] for each in row["responses"]) / 3)
        assert ended == pytest.approx(sum(each["ended"] for each in row["responses"]) / 3)
        assert [each["right"] for each in row["responses"]] == [None if row in rows[:2] else False] * 3
    assert 0 < measures["responses_token_entropy"].value < math.log(300)


def test_responses_to_one_prompt_are_drawn_apart_and_the_same_ones_again(scorer, measured):
    texts = [[each["text"] for each in row["responses"]] for row in measured[1]]
    assert all(len(set(each)) > 1 for each in texts)
    again = [[each["text"] for each in row["responses"]] for row in measure_responses(scorer, asked(), seed=0)[1]]
    other = [[each["text"] for each in row["responses"]] for row in measure_responses(scorer, asked(), seed=1)[1]]
    assert again == texts != other


def test_a_cold_model_says_the_same_each_time(scorer):
    cold, _ = measure_responses(scorer, asked(temperature=0.001), seed=0)
    assert cold["responses_duplicates"].value == pytest.approx(2 / 3)
    assert cold["responses_agreement"].value == 1 and cold["responses_sample_entropy"].value == 0
    warm, _ = measure_responses(scorer, asked(temperature=1.0), seed=0)
    assert warm["responses_distinct_2"].value > cold["responses_distinct_2"].value


def test_right_answers_are_seen(scorer, monkeypatch):
    monkeypatch.setattr(responses, "is_right", lambda problem, said: said is not None and problem.seed % 2 == 0)
    measures, rows = measure_responses(scorer, asked(), seed=0)
    assert measures["responses_verified"].values == tuple(
        float(row["responses"][0]["right"]) for row in rows if row["responses"][0]["right"] is not None
    )


def test_what_was_written_is_read_again_once_and_kept(roomy_model, monkeypatch):
    """A killed evaluation goes on where it was, and a repeat is free."""
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=4)
    first, _ = measure_responses(scorer, asked(), seed=0)
    passes: list[object] = []
    monkeypatch.setattr(scorer.model, "logits_of", lambda *told, **how: passes.append(told))
    again, _ = measure_responses(scorer, asked(), seed=0)
    assert again == first and not passes


def test_student_and_teacher_are_compared_prompt_by_prompt(roomy_model, tmp_path):
    folders = []
    for name, temperature in (("own", 2.0), ("teacher", 0.001)):
        folder = tmp_path / name
        folder.mkdir()
        settings = BehaviourSettings(
            behaviour=asked(temperature=temperature, prompts=3), documents=2, batch_size=4, compute=COMPUTE
        )
        evaluate_behaviour(settings, {"model": roomy_model}, folder)
        folders.append(folder)
    found = compare_behaviour(*folders, seed=0)
    assert found["responses_duplicates"].difference == pytest.approx(-2 / 3), "who is cold says the same three times"
    apart = found["responses_token_entropy"]
    assert apart.interval[0] < apart.difference < apart.interval[1]
    same = compare_behaviour(folders[1], folders[1], seed=0)
    assert len(same) == 8 and {found.difference for found in same.values()} == {0}
