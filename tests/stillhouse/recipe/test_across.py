"""What a student with a tokenizer of its own may be taught by."""

import pytest

from stillhouse.errors import InputError
from stillhouse.recipe.recipe import Recipe, validated

TRAINED = {"kind": "fresh", "layers": 2, "tokenizer": {"kind": "trained", "vocabulary": 4096}}
OWN = {"kind": "model", "source": "org/other", "tokenizer": "own"}
PROMPTS = [{"kind": "packaged", "name": "nq-open"}]
WEIGHED = {"sampled": {"samples": 4, "weigh": "by_prompt"}}
ACROSS = {"loss": {"kind": "universal_logit_distance"}}


def recipe(**changes) -> Recipe:
    data = {"sets": [{"kind": "packaged", "name": "boolq-passages"}]}
    return validated(Recipe, {"name": "mine", "teacher": "org/model", "data": data, **changes}, "it")


@pytest.mark.parametrize("student", [TRAINED, OWN], ids=["trained", "own"])
@pytest.mark.parametrize(
    "changes",
    [
        {"distillation": ACROSS},
        {"distillation": {**ACROSS, "alpha": {"start": 0.9, "end": 0.1}}},
        {"distillation": {"alpha": 0.0}},
        {"distillation": {"alpha": 0.5}, "knowledge": {"kind": "moving_average"}},
        {"distillation": ACROSS, "curriculum": {"difficulty": "teacher_loss"}},
    ],
    ids=["distance", "moving", "text", "own average", "curriculum"],
)
def test_what_can_go_across(student: dict, changes: dict):
    recipe(student=student, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "distillation.loss is forward_kl, which compares distributions over one vocabulary; set loss.kind to uni"),
        ({"distillation": ACROSS, "knowledge": {"kind": "cached"}}, "knowledge.kind is cached"),
        (
            {"distillation": ACROSS, "knowledge": {"kind": "ensemble", "members": [{"teacher": "org/b"}]}},
            "knowledge.kind is ensemble",
        ),
        ({"distillation": {**ACROSS, "features": {}}}, "leave features out"),
        ({"distillation": {**ACROSS, "alpha": {"shape": "agreement", "enough": 0.5}}}, "no token at which it agrees"),
        ({"distillation": {**ACROSS, "alpha": 1.0}}, "set alpha below 1"),
        ({"distillation": ACROSS, "route": {"kind": "born_again"}}, "leave route out"),
        ({"distillation": ACROSS, "knowledge": {"kind": "moving_average"}}, "own moving average has its tokenizer"),
        ({"distillation": ACROSS, "data": {"sets": [{"kind": "reasoning"}]}}, "whose tasks weigh each token"),
        ({"distillation": ACROSS, "data": {"sets": PROMPTS, "answers": WEIGHED}}, "sampled.weigh is by_prompt"),
        ({"distillation": {**ACROSS, "on_policy": {"share": 0.5}}}, "leave on_policy out"),
        ({"distillation": ACROSS, "student": {"kind": "depth", "layers": 2}}, "the student has the teacher's"),
        ({"student": {**TRAINED, "tokenizer": {"kind": "trained", "vocabulary": 200}}}, "greater than or equal to 300"),
    ],
)
def test_what_cannot_is_refused_with_what_to_do(changes: dict, said: str):
    with pytest.raises(InputError, match=said):
        recipe(**{"student": TRAINED, **changes})
