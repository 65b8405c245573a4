"""What the report says of each variant's own answers, and of what a model was asked otherwise than the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report.limits import limits
from evaluation.report.variant_scores import variant_scores_table
from evaluation.results import Results

SCORE = {"value": 0.5, "stderr": 0.05, "n": 100}


@pytest.fixture
def content() -> dict[str, Any]:
    """Results of which onnx-int4 alone has answered piqa, on as many documents as the models."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    found["capability"] = {"piqa": {model: SCORE for model in found["models"]}}
    for variant in found["variants"].values():
        variant.pop("capability", None)
    found["variants"]["onnx-int4"]["capability"] = {"piqa": SCORE}
    return found


@pytest.mark.parametrize(
    ("p_value_holm", "bounds", "doubt"),
    [
        (0.01, [-0.2, -0.02], ""),
        (0.3, [-0.2, -0.02], ", by itself, not among all"),
        (0.3, [-0.2, 0.02], ", not distinguishable at this n"),
    ],
)
def test_a_variants_difference_is_called_one_only_among_all_of_its_benchmarks(content, p_value_holm, bounds, doubt):
    score = SCORE | {"difference_to_teacher": -0.1, "difference_interval": bounds, "p_value_holm": p_value_holm}
    content["variants"]["onnx-int4"]["capability"]["piqa"] = score
    table = variant_scores_table(Results.model_validate(content))
    assert table is not None
    note = table.rows[0][1].note
    assert note.endswith(f"){doubt}") and "(" in note


@pytest.mark.parametrize(
    ("documents", "words"), [(25, "fewer than the models did"), (100, "as many as the models did")]
)
def test_how_many_documents_variants_answered_is_told_as_it_is(content, documents, words):
    content["variants"]["onnx-int4"]["capability"]["piqa"] = SCORE | {"n": documents}
    said = " ".join(limits(Results.model_validate(content)))
    assert f"Variants answered {documents} documents of each benchmark, {words}" in said


def test_what_a_model_could_not_read_whole_is_told(content):
    content["capability"]["piqa"] = {"teacher": SCORE | {"cut": 0}, "student": SCORE | {"cut": 7}}
    said = " ".join(limits(Results.model_validate(content)))
    assert "read without their beginnings, which makes answers worse: PIQA (student: 7)" in said
    assert "teacher: 0" not in said


def test_a_chat_without_a_template_is_told(content):
    content["capability"]["piqa"]["student"] = SCORE | {"asked_as": "plain text"}
    content["capability"]["piqa"]["teacher"] = SCORE | {"asked_as": "chat"}
    assert "asked as plain text since the model has no chat template: PIQA (student)" in " ".join(
        limits(Results.model_validate(content))
    )
