"""What the report says of sampled responses, and of a student that writes its own text."""

import json
from pathlib import Path

from evaluation.report import distillation_words
from evaluation.report.methods import methods
from evaluation.report.render import _lineage
from evaluation.results import Results


def read(**lineage) -> Results:
    content = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    content["lineage"] |= lineage
    return Results.model_validate(content)


def test_the_responses_have_a_table_beside_the_data():
    name = "Responses to the training prompts"
    told = {table.title: table for table in _lineage(read(responses={"responses": 12, "verified_share": None}), True)}
    assert [[cell.text for cell in row] for row in told[name].rows] == [["responses", "12"], ["verified share", "none"]]
    assert name not in [table.title for table in _lineage(read(), True)]


def test_how_they_were_drawn_is_told():
    results = read()
    sampled = {"samples": 4, "temperature": 0.8, "top_p": 0.95}
    recipe = {**results.lineage.recipe, "data": {"answers": {"sampled": sampled}}}
    said = dict(methods(read(recipe=recipe)))["Data"]
    assert "answered 4 times instead, by sampling at temperature 0.8, top-p 0.95" in said
    assert "instead, by sampling" not in dict(methods(results))["Data"]


def test_steps_on_the_student_s_own_text_are_told():
    asked = {"on_policy": {"share": 0.25, "max_new_tokens": 48, "temperature": 1.0}}
    (said,) = distillation_words.on_policy(asked)
    assert said.startswith("At 25% of the steps") and "by up to 48 tokens" in said
    assert list(distillation_words.on_policy({"on_policy": None})) == []
