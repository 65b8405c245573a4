"""Recipes: what is read, what is refused and in which words, and that the published schema is today's."""

from pathlib import Path

import pytest

from stillhouse.errors import InputError
from stillhouse.recipe import Recipe, load_export_recipe, load_recipe
from stillhouse.recipe.recipe import validated
from tests.conftest import RECIPE

ROOT = Path(__file__).parents[3]
RECIPES = sorted(
    path for form in ("*.yaml", "techniques/*.yaml") for path in (ROOT / "recipes").glob(form) if path.stem != "export"
)
WORKING = """
name: mine
teacher: some/model
data: {sets: [{kind: packaged, name: boolq-passages}]}
student: {kind: depth, layers: 3}
"""


def read(tmp_path: Path, text: str | bytes) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_is_valid_and_says_how_it_is_run(path: Path):
    assert load_recipe(path).name == path.stem
    assert f"{path.name}\n" in path.read_text().partition("stillhouse run ")[2]


def test_the_recipe_of_an_export_takes_its_model_from_the_command_line():
    path = ROOT / "recipes" / "export.yaml"
    assert load_export_recipe(path, {"model": "org/model"}).model.source == "org/model"
    with pytest.raises(InputError, match="model: Field required"):
        load_export_recipe(path, {})


def test_a_teacher_may_be_just_its_name(tmp_path):
    assert read(tmp_path, WORKING).teacher.source == "some/model"


def test_a_recipe_does_not_change(tmp_path):
    recipe = read(tmp_path, WORKING)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds a list, not a mapping"),
        ("just words", "holds a str, not a mapping"),
        ("name: [unclosed", "not valid YAML"),
        (b"\xff\xfe\x00name", "not a text file"),
        (WORKING + "gate: []\n", r"gate: Extra inputs are not permitted.*docs/recipe.md"),
        (WORKING + "distillation: {temprature: 2}\n", "distillation.temprature: Extra inputs"),
        (WORKING + "distillation: {temperature: 0}\n", "distillation.temperature: Input should be greater than 0"),
        (WORKING + "threads: many\n", "threads"),
        (WORKING + "gates: [{figure: a.b}]\n", "exactly one of at_most, at_least and margin"),
        (WORKING + "export: {variants: [onnx-fp7]}\n", "export.variants.0"),
        (WORKING.replace("teacher: some/model\n", ""), "teacher: Field required"),
        (WORKING.replace("name: mine", "name: store"), "name: .*take another name"),
        (WORKING + "seed: 2024-02-30\n", "not valid YAML"),
        (WORKING + "seed: 100000000000000000000\n", "seed: Input should be less than"),
        (WORKING.replace("name: mine", "name: My Run"), "name: String should match"),
    ],
)
def test_a_wrong_recipe_is_refused_by_the_name_of_what_is_wrong(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, text)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no recipe at .*none\.yaml"):
        load_recipe(tmp_path / "none.yaml")


def test_only_students_that_lost_layers_are_refitted():
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True) | {"refit": {}}
    assert validated(Recipe, content, "the recipe").refit.tokens == 16_384
    with pytest.raises(InputError, match="student.kind is width; leave refit out"):
        validated(Recipe, content | {"student": {"kind": "width", "parameters_share": 0.5}}, "the recipe")
    through = {"kind": "progressive", "through": [{"student": {"kind": "width", "feed_forward_size": 64}}]}
    with pytest.raises(InputError, match="student.kind is width"):
        validated(Recipe, content | {"route": through}, "the recipe")


def test_refitting_to_a_few_rows_is_refused():
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True) | {"refit": {"tokens": 1024}}
    with pytest.raises(InputError, match=r"1,024 training tokens .* give it 2,048"):
        validated(Recipe, content, "the recipe")
