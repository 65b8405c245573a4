"""The ways from a teacher to its student: who is cut from whom, and who teaches whom."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.preflight import examine, prepare
from flows.route import Taught, teach
from flows.work import Work
from stillhouse.errors import InputError
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tests.conftest import RECIPE

READ = {"teacher": Reference("load_teacher", "1" * 64), "dataset": Reference("encode_documents", "2" * 64)}


def recipe(**changes) -> Recipe:
    content = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)
    return validated(Recipe, content | changes, "the recipe")


@dataclass
class Asked:
    """The stages that a route asked for, each with its settings and what it read."""

    stages: list[tuple[str, object, dict[str, Reference]]] = field(default_factory=list)

    def __call__(self, task, store, settings, inputs) -> Reference:
        self.stages.append((task.fn.__name__, settings, dict(inputs)))
        return Reference(task.fn.__name__, f"{len(self.stages):064d}")

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.stages]


def taught(tmp_path: Path, seed: int | None = None, **changes) -> tuple[Asked, Taught]:
    asked, store = Asked(), Store(tmp_path)
    settings = prepare(recipe(**changes), RECIPE.parent, store)
    return asked, teach(settings, Work(store, asked), READ, seed=seed)


THROUGH = {"kind": "progressive", "through": [{"student": {"kind": "depth", "layers": 5}, "steps": 7}]}


def test_directly_the_teacher_is_cut_and_teaches(tmp_path: Path):
    asked, found = taught(tmp_path)
    assert asked.names == ["prune_layers", "distill"]
    assert asked.stages[0][2] == READ
    assert asked.stages[1][2] == {"start": found.start, **READ}
    assert found.before == {}


def test_progressively_each_student_is_cut_from_the_one_before_and_taught_by_it(tmp_path: Path):
    asked, found = taught(tmp_path, route=THROUGH)
    assert asked.names == ["prune_layers", "distill", "prune_layers", "distill"]
    (_, cut, read), (_, training, learns), (_, last_cut, last_read), (_, last, last_learns) = asked.stages
    between = found.before["intermediate-1"]
    assert (cut.student.layers, last_cut.student.layers) == (5, 4)
    assert read == READ and last_read == READ | {"teacher": between}
    assert learns["teacher"] == READ["teacher"] and last_learns["teacher"] == between
    assert last_learns["start"] == found.start
    assert (training.distillation.steps, last.distillation.steps) == (7, None)


def test_born_again_starts_anew_and_is_taught_by_the_generation_before(tmp_path: Path):
    asked, found = taught(tmp_path, route={"kind": "born_again", "generations": 3})
    assert asked.names == ["prune_layers", "distill", "distill", "distill"]
    teachers = [inputs["teacher"] for name, _, inputs in asked.stages if name == "distill"]
    assert teachers == [READ["teacher"], found.before["generation-1"], found.before["generation-2"]]
    assert {inputs["start"] for name, _, inputs in asked.stages if name == "distill"} == {found.start}
    assert found.student not in found.before.values()


def test_a_cache_is_captured_from_the_teacher_of_each_link(tmp_path: Path):
    cached = {"kind": "cached", "targets": {"kind": "full"}}
    asked, found = taught(tmp_path, route=THROUGH, knowledge=cached)
    captured = [inputs["teacher"] for name, _, inputs in asked.stages if name == "capture_shard"]
    assert set(captured) == {READ["teacher"], found.before["intermediate-1"]}


def test_the_models_that_a_curriculum_goes_by_read_the_texts_before_each_training(tmp_path: Path):
    section = {"difficulty": "start_loss", "leave_out": {"worst_share": 0.1}}
    asked, found = taught(tmp_path, seed=12, curriculum=section)
    assert asked.names == ["prune_layers", "measure_difficulty", "measure_difficulty", "distill"]
    (_, first, by_teacher), (_, _, by_start) = asked.stages[1:3]
    assert by_teacher == {"model": READ["teacher"], "dataset": READ["dataset"]}
    assert by_start == {"model": found.start, "dataset": READ["dataset"]}
    # Another seed of training is another order of what was read once.
    assert first.compute.seed == 0
    _, training, learns = asked.stages[-1]
    assert training.curriculum.leave_out.worst_share == 0.1
    assert learns == {**READ, "start": found.start, **found.knowledge}
    assert set(found.knowledge) == {"difficulty_teacher", "difficulty_start"}
    asked, _ = taught(tmp_path, curriculum={"difficulty": "length"})
    assert asked.names == ["prune_layers", "distill"]
    asked, _ = taught(tmp_path, route=THROUGH, curriculum={})
    readers = [inputs["model"] for name, _, inputs in asked.stages if name == "measure_difficulty"]
    assert readers == [inputs["teacher"] for name, _, inputs in asked.stages if name == "distill"]


def test_a_study_seeds_trainings_and_leaves_the_start(tmp_path: Path):
    asked, _ = taught(tmp_path, seed=12, route=THROUGH)
    seeds = [(name, settings.compute.seed) for name, settings, _ in asked.stages]
    assert seeds == [("prune_layers", 7), ("distill", 12), ("prune_layers", 7), ("distill", 12)]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (6, "student 1 of route.through has .*M parameters, and the one before it, which teaches it"),
        (4, "the recipe's student has .*M parameters, and the last of route.through"),
        (9, "student.layers is 9"),
    ],
)
def test_a_student_on_the_way_that_is_no_smaller_than_its_teacher_is_refused(layers: int, said: str, tmp_path: Path):
    route = {"kind": "progressive", "through": [{"student": {"kind": "depth", "layers": layers}}]}
    with pytest.raises(InputError, match=said):
        examine(recipe(route=route), RECIPE.parent, Store(tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"route": THROUGH, "student": {"kind": "fresh"}}, "student.kind is fresh; take depth, width"),
        (
            {"route": {"kind": "born_again"}, "knowledge": {"kind": "endpoint", "url": "http://x/v1", "model": "m"}},
            "knowledge.kind is endpoint, which is of the recipe's teacher alone",
        ),
        ({"route": THROUGH, "student": {"kind": "width", "parameters_share": 0.5}}, "give parameters, a number"),
        (
            {"route": {"kind": "born_again"}, "distillation": {"features": {"layers": {"2": 3}}}},
            "names layers of the recipe's teacher",
        ),
        ({"route": {"kind": "born_again", "generations": 1}}, "greater than or equal to 2"),
        ({"route": {"kind": "progressive", "through": []}}, "at least 1 item"),
    ],
)
def test_a_chain_that_has_nothing_to_hand_on_is_refused(changes: dict, said: str):
    with pytest.raises(InputError, match=said):
        recipe(**changes)


def test_every_link_costs_its_training(tmp_path: Path):
    costs = {
        name: examine(recipe(route=route), RECIPE.parent, Store(tmp_path)).cost
        for name, route in {
            "direct": {"kind": "direct"},
            "progressive": THROUGH,
            "twice": {"kind": "born_again", "generations": 2},
        }.items()
    }
    ordered = examine(recipe(curriculum={}), RECIPE.parent, Store(tmp_path)).cost
    assert ordered.seconds > costs["direct"].seconds
    rows, length = 8, 256
    assert costs["progressive"].training_tokens == costs["direct"].training_tokens + 7 * rows * length
    assert costs["twice"].training_tokens == 2 * costs["direct"].training_tokens
    assert costs["direct"].seconds < costs["progressive"].seconds < costs["twice"].seconds
    assert costs["direct"].disk_bytes < costs["progressive"].disk_bytes
