"""Routes really trained, on the tiny model: whoever comes before is what the next one comes near to."""

from pathlib import Path

import pytest

from flows.delivery import prepare_data
from flows.preflight import prepare
from flows.route import teach
from flows.work import Work, directly
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher
from tasks.score_held_out import measure_held_out
from tests.conftest import RECIPE

LEARNING = {"alpha": 1.0, "temperature": 1.0, "steps": 6, "batch_rows": 4, "warmup_steps": 1, "learning_rate": 3e-3}
THROUGH = {"kind": "progressive", "through": [{"student": {"kind": "depth", "layers": 5}, "steps": 6}]}


@pytest.mark.parametrize("route", [THROUGH, {"kind": "born_again"}], ids=["progressive", "born again"])
def test_a_student_comes_near_to_the_one_before_which_came_near_to_the_teacher(route: dict, tmp_path: Path):
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)
    content |= {"route": route, "distillation": LEARNING}
    content["data"] |= {"train_tokens": 8000, "validation_tokens": 1000, "held_out_tokens": 2000}
    store = Store(tmp_path / "store")
    settings = prepare(validated(Recipe, content, "the recipe"), RECIPE.parent, store)
    work = Work(store, directly)
    teacher = work.make(load_teacher, settings.teacher, {})
    dataset = prepare_data(settings, work, teacher)["dataset"]
    taught = teach(settings, work, {"teacher": teacher, "dataset": dataset})
    (between,) = taught.before.values()

    def divergence(student: Reference, whom: Reference) -> float:
        read = {"model": student, "teacher": whom, "dataset": dataset}
        return work.facts(work.make(measure_held_out, settings.held_out, read))["kl_to_teacher_nats_per_token"]

    assert divergence(taught.student, between) < divergence(taught.start, between)
    assert divergence(between, teacher) < divergence(taught.start, teacher)
    # It was taught by the one before, and is nearer to it than to the teacher.
    assert divergence(taught.student, between) < divergence(taught.student, teacher)
    # From the same start the teacher itself makes another student. Born again that is the generation before.
    by_teacher = work.make(distill, settings.distill, {"start": taught.start, "teacher": teacher, "dataset": dataset})
    assert by_teacher.key != taught.student.key
    if route is THROUGH:
        assert divergence(taught.student, between) < divergence(by_teacher, between)
    else:
        assert by_teacher.key == between.key
