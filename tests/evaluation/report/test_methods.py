import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report.methods import methods
from evaluation.results import Results


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


def told(results: dict[str, Any], behaviour: dict[str, Any] | None = None) -> dict[str, str]:
    found = methods(Results.model_validate(results), behaviour)
    return {heading: text.replace("\u00a0", " ") for heading, text in found}


def test_the_methods_follow_the_settings_of_the_run(results: dict[str, Any]):
    results["lineage"]["recipe"]["distillation"] |= {"alpha": 0.75, "steps": 60, "batch_rows": 2, "accumulation": 3}
    text = told(results)["Distillation"]
    assert "with weight 0.75" in text and "the text itself with weight 0.25" in text
    assert "AdamW, 60 steps, 6 rows a step" in text


def test_the_suites_say_themselves_how_they_measured(results: dict[str, Any]):
    key = "generations_greedy_tokens"
    text = told(results, {key: {"method": "24 prompts, cut at 64 tokens"}})["Behaviour"]
    assert text.endswith("24 prompts, cut at 64 tokens.") and "temperature 0.8" not in text


def test_every_kind_of_interval_is_named(results: dict[str, Any]):
    intervals, gates = told(results)["Intervals"], told(results)["Gates"]
    assert "differences between two shares of documents are worked out (Agresti and Min)" in intervals
    assert "for StereoSet target terms are drawn, for speed whole repeats, for every other mean documents" in intervals
    assert "Bounds of one share of documents are Wilson's, of the difference of two shares Tango's" in gates
    assert "a score without them is no evidence" in gates and "non-inferiority" not in gates
    results["gates"][0]["margin"] = 0.75
    assert "is a test of non-inferiority" in told(results)["Gates"]


@pytest.mark.parametrize(("starts", "cases"), [(2, 50), (3, 75), (5, 94), (9, None)])
def test_an_interval_over_few_starts_is_not_called_one_of_95(results: dict[str, Any], starts: int, cases: int | None):
    for one in results["variants"].values():
        if "reason" not in one:
            one |= {"cold_start_seconds": 3.0, "warm_start_seconds": 2.0, "starts": starts}
    text = told(results)["Speed and memory"]
    assert "A start is from the start of a process" in text
    said = (
        f"over {starts} starts is from the fastest to the slowest: it holds the median of many in {cases} cases of 100"
    )
    assert (said in text) == (cases is not None) == ("to the slowest" in text)


def test_what_was_not_done_has_no_paragraph(results: dict[str, Any]):
    lineage = results["lineage"] | {"recipe": {"name": "mine"}, "data": []}
    bare = results | {"models": {}, "capability": {}, "behaviour": {}, "variants": {}, "gates": [], "lineage": lineage}
    assert told(bare) == {}


def test_a_smaller_model_as_the_start_is_named(results: dict[str, Any]):
    results["lineage"]["recipe"]["student"] = {"kind": "model", "source": "org/small"}
    assert told(results)["Start"] == "The student starts as org/small, a model that shares the teacher's tokenizer."


def test_who_else_answered_prompts_is_told(results: dict[str, Any]):
    assert "org/code" not in told(results)["Data"]
    others = [{"teacher": {"source": "org/code"}, "serves": ["code", "law"]}]
    sampled = {"samples": 4, "temperature": 1.0, "top_p": 1.0}
    results["lineage"]["recipe"]["data"]["answers"] = {"others": others, "sampled": sampled}
    assert told(results)["Data"].endswith("All of this is done by org/code where prompts are of code and law.")


@pytest.mark.parametrize(
    ("knowledge", "route"),
    [
        ({"kind": "ensemble", "members": [{"teacher": {"source": "org/code"}}]}, {}),
        ({"kind": "online"}, {"kind": "continual", "rounds": [{"sets": ["law"]}, {"sets": ["code"]}]}),
        ({"kind": "online"}, {"kind": "progressive", "through": [{}]}),
    ],
    ids=["several", "in rounds", "progressive"],
)
def test_without_a_share_in_the_loss_no_teacher_taught(results: dict[str, Any], knowledge: dict, route: dict):
    recipe = results["lineage"]["recipe"]
    recipe |= {"knowledge": knowledge, "route": route}
    recipe["distillation"] |= {"alpha": 0.5}
    said = told(results)["Distillation"]
    assert "mixed" in said or "taught" in said
    recipe["distillation"] |= {"alpha": 0.0}
    said = told(results)["Distillation"]
    assert "No teacher was asked in training: the student learned from the text alone." in said
    assert "mixed" not in said and "taught" not in said and "beside the student" not in said
    recipe["distillation"] |= {"on_policy": {"share": 0.5, "max_new_tokens": 8, "temperature": 1.0}}
    assert "No teacher was asked" not in told(results)["Distillation"]


def test_who_taught_the_first_generation_is_told(results: dict[str, Any]):
    recipe = results["lineage"]["recipe"]
    recipe |= {"route": {"kind": "born_again", "generations": 3}}
    assert "This is generation 3: " in told(results)["Distillation"]
    assert "the first by the teacher. What is said here" in told(results)["Distillation"]
    recipe["route"] |= {"first": "text"}
    assert "the first by nobody: it learned from the text alone. What is said here" in told(results)["Distillation"]


def test_what_became_of_prompts_is_told(results: dict[str, Any]):
    assert "left the context" not in told(results)["Data"]
    results["lineage"]["answers"] = {"prompts": 90, "answers": 88, "empty": 0, "too_long": 2, "ended_share": 0.25}
    text = told(results)["Data"]
    assert "Of 90 prompts 88 were answered so; 25.0% of the answers ended by themselves, and 2 left the context" in text
