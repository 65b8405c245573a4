"""What a run costs, by who teaches it."""

import pytest

from flows.estimate import estimate
from stillhouse.models.shape import ModelShape
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from tests.conftest import RECIPE

TEACHER = ModelShape(layers=30, hidden_size=576, vocabulary_size=49_152, parameters=134_000_000, context_length=2048)
STUDENT = TEACHER.with_layers(15)


def cost(**changes):
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True) | changes
    return estimate(validated(Recipe, content, "the recipe"), TEACHER, STUDENT, gigaflops_per_second=100.0)


def test_every_teacher_of_an_ensemble_reads_the_text_and_lies_in_memory():
    one = cost()
    two = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other"}]})
    assert two.memory_bytes - one.memory_bytes == 4 * TEACHER.parameters
    read = 120_000 * 2 * TEACHER.parameters
    assert two.seconds - one.seconds == pytest.approx(read / (100e9 * 0.4))


def test_a_cached_member_reads_and_does_not_stay():
    full = {"kind": "cached", "targets": {"kind": "full"}}
    online = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other"}]})
    cached = cost(knowledge={"kind": "ensemble", "members": [{"teacher": "org/other", "knowledge": full}]})
    assert cached.seconds == online.seconds
    assert online.memory_bytes - cached.memory_bytes == 4 * TEACHER.parameters


def test_a_student_that_is_its_own_teacher_is_read_in_the_teachers_place():
    own = cost(knowledge={"kind": "moving_average"})
    assert own.seconds < cost().seconds
    assert own.memory_bytes - cost().memory_bytes == 4 * STUDENT.parameters
