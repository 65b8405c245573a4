"""What a person changes of a recipe lands where the recipe has it, and is refused where it cannot."""

from pathlib import Path

import pytest
import yaml

from stillhouse.errors import InputError
from stillhouse.recipe import load_recipe
from stillhouse.recipe.changes import Changes
from stillhouse.recipe.losses import Taid

ROOT = Path(__file__).parents[3]
TINY = ROOT / "recipes" / "tiny.yaml"


def test_each_value_lands_in_its_section():
    asked = Changes(teacher="org/model", layers=3, train_tokens=5000, loss="taid", alpha=0.25, temperature=4.0)
    recipe, before = load_recipe(TINY, asked), load_recipe(TINY)
    assert recipe.teacher.source == "org/model"
    assert recipe.student.layers == 3
    assert recipe.data.train_tokens == 5000
    assert recipe.distillation.loss == Taid()
    assert (recipe.distillation.alpha, recipe.distillation.temperature) == (0.25, 4.0)
    # What was not asked stays.
    assert recipe.data.sets == before.data.sets
    assert recipe.distillation.learning_rate == before.distillation.learning_rate
    assert recipe.gates == before.gates


def test_nothing_asked_is_the_recipe_itself():
    assert load_recipe(TINY, Changes()) == load_recipe(TINY)


def test_other_variants_take_the_gates_on_those_that_are_not_made_with_them():
    recipe = load_recipe(TINY, Changes(variants=("onnx-fp32",)))
    assert recipe.export.variants == ("onnx-fp32",)
    figures = [gate.figure for gate in recipe.gates]
    assert any(figure.startswith("variants.onnx-fp32.") for figure in figures)
    assert not any(figure.startswith("variants.onnx-int4.") for figure in figures)
    assert any(figure.startswith("models.") for figure in figures)


def test_gates_that_warn_block_nothing():
    assert {gate.action for gate in load_recipe(TINY, Changes(gates="warn")).gates} == {"warn"}
    assert "block" in {gate.action for gate in load_recipe(TINY).gates}


@pytest.mark.parametrize(
    ("content", "asked", "said"),
    [
        ("student: {kind: model, source: org/small}", Changes(layers=2), "student.model.layers"),
        ("student: 3", Changes(layers=2), "student"),
        ("gates: 3", Changes(gates="warn"), "gates"),
        ("gates: [3]", Changes(variants=("onnx-fp32",)), "gates.0"),
        ("data: none", Changes(train_tokens=5), "data"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_in_words(content, asked, said, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    usual = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    recipe.write_text(yaml.safe_dump(usual | yaml.safe_load(content)), encoding="utf-8")
    with pytest.raises(InputError, match="with the changes that were asked does not fit") as refusal:
        load_recipe(recipe, asked)
    assert f"\n  {said}" in str(refusal.value)


def test_a_form_shows_the_fields_in_the_order_they_are_written():
    fields = Changes.model_json_schema()["properties"]
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
    assert all(field.get("description") for field in fields.values())
