"""The ways from a teacher to its student: who is cut from whom, and who teaches whom."""

from dataclasses import dataclass, field, replace
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


def test_born_again_from_the_text_nobody_teaches_the_first_generation(tmp_path: Path):
    cached = {"kind": "cached", "targets": {"kind": "full"}}
    route = {"kind": "born_again", "generations": 3, "first": "text"}
    moving = {"shape": "linear", "start": 4.0, "end": 1.0}
    told = {"alpha": 0.5, "loss": {"kind": "reverse_kl"}, "temperature": moving, "features": {}, "steps": 9}
    asked, _ = taught(tmp_path, route=route, distillation=told)
    first, *later = [settings for name, settings, _ in asked.stages if name == "distill"]
    assert (first.distillation.asks_teacher, first.distillation.steps) == (False, 9)
    assert [each.distillation.alpha for each in later] == [0.5, 0.5]
    assert all(each.distillation.features for each in later)
    # It is the training that a recipe without a teacher asks for, and the store would find it.
    alone, _ = taught(tmp_path, distillation={"alpha": 0, "temperature": 1.0, "steps": 9})
    assert alone.stages[-1][1] == first
    # Nobody captures what nobody is asked.
    asked, found = taught(tmp_path, route=route | {"generations": 2}, knowledge=cached)
    captured = {inputs["teacher"] for name, _, inputs in asked.stages if name == "capture_shard"}
    assert captured == set(found.before.values())


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


NAMES = ["boolq-passages", "reasoning-gym"]
ROUNDS = {"kind": "continual", "rounds": [{"sets": NAMES[:1]}, {"sets": NAMES[1:], "steps": 3}]}


def test_in_rounds_each_goes_on_from_the_student_before_which_teaches_what_is_replayed(tmp_path: Path):
    asked, found = taught(tmp_path, route=ROUNDS)
    assert asked.names == ["choose_round", "choose_round", "prune_layers", "distill", "distill"]
    (_, one, reads), (_, two, _), (_, _, cut), (_, first, learns), (_, last, last_learns) = asked.stages
    assert (one.new, one.earlier) == (("boolq-passages",), ())
    assert (two.new, two.earlier, two.replay) == (("reasoning-gym",), ("boolq-passages",), 0.25)
    assert reads == {"dataset": READ["dataset"]}
    # The start is cut by what is there in the first round.
    assert cut["dataset"] == learns["dataset"] == found.knowledge["data_round-1"]
    assert learns == {"teacher": READ["teacher"], "start": found.start, "dataset": learns["dataset"]}
    before = found.before["round-1"]
    assert last_learns["start"] == last_learns["teacher_1"] == before
    assert last_learns["teacher"] == READ["teacher"]
    assert last_learns["dataset"] == found.knowledge["data_round-2"]
    assert (first.distillation.steps, last.distillation.steps) == (None, 3)
    assert first.knowledge.kind == "online" and last.knowledge.kind == "ensemble"
    assert last.knowledge.weighting.own == ("reasoning-gym",)
    assert last.knowledge.members[0].serves == ("boolq-passages",)
    assert set(found.knowledge) == {"data_round-1", "data_round-2"}


def test_in_rounds_the_student_before_teaches_beside_the_teacher_or_not_at_all(tmp_path: Path):
    everywhere = ROUNDS | {"replay": 0, "previous_student": "everywhere", "previous_weight": 2.0}
    asked, _ = taught(tmp_path, route=everywhere)
    mixed = asked.stages[-1][1].knowledge
    assert (mixed.weighting.kind, mixed.weight, mixed.members[0].weight) == ("fixed", 1.0, 2.0)
    asked, _ = taught(tmp_path, route=ROUNDS | {"replay": 0, "previous_student": "none"})
    assert asked.stages[-1][1].knowledge.kind == "online" and "teacher_1" not in asked.stages[-1][2]


def test_a_round_may_have_a_teacher_of_its_own_and_a_cache(tmp_path: Path):
    own = load_recipe(RECIPE).teacher.source
    rounds = [ROUNDS["rounds"][0], ROUNDS["rounds"][1] | {"teacher": own}]
    cached = {"kind": "cached", "targets": {"kind": "full"}}
    asked, found = taught(tmp_path, route=ROUNDS | {"rounds": rounds}, knowledge=cached)
    loaded = [index for index, name in enumerate(asked.names) if name == "load_teacher"]
    assert len(loaded) == 1
    captured = {inputs["teacher"] for name, _, inputs in asked.stages if name == "capture_shard"}
    assert captured == {READ["teacher"], found.knowledge["teacher_2"]}
    last = asked.stages[-1][2]
    assert last["teacher"] == found.knowledge["teacher_2"] and last["cache"] == found.knowledge["cache"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": [{"sets": NAMES[:1]}]}, "at least 2 items"),
        ({"rounds": [{"sets": NAMES[:1]}, {"sets": ["law"]}]}, "round 2 of route.rounds names law, which is none of"),
        ({"rounds": [{"sets": NAMES}, {"sets": NAMES[1:]}]}, "names reasoning-gym, which round 1 has"),
        ({"replay": 0}, "so that the replay buffer is empty"),
        ({"previous_weight": 2.0}, "route.previous_weight is 2, and route.previous_student is replayed, where"),
        ({"previous_student": "none", "replay": 1.5}, "less than or equal to 1"),
    ],
)
def test_rounds_that_do_not_fit_the_data_are_refused(changes: dict, said: str):
    with pytest.raises(InputError, match=said):
        recipe(route=ROUNDS | changes)


def test_a_set_without_a_round_is_refused():
    data = load_recipe(RECIPE).model_dump(mode="json", exclude_none=True)["data"]
    data["sets"].append({"kind": "packaged", "name": "pubmed-abstracts"})
    with pytest.raises(InputError, match="no round of route.rounds has the data set pubmed-abstracts"):
        recipe(route=ROUNDS, data=data)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"knowledge": {"kind": "moving_average"}}, "knowledge.kind is moving_average; a round has one teacher"),
        ({"knowledge": {"kind": "cached"}, "distillation": {"temperature": 1}}, "a cache of sampled targets does not"),
        ({"distillation": {"features": {}}}, "compares hidden states, and knowledge of kind ensemble has none"),
        (
            {"route": ROUNDS | {"previous_student": "everywhere"}, "distillation": {"alpha": 0}},
            "route.previous_student is everywhere, but distillation.alpha is 0, so that nobody teaches",
        ),
        ({"distillation": {"alpha": 0}}, "route.previous_student is replayed, but distillation.alpha is 0"),
        (
            {
                "route": ROUNDS
                | {"previous_student": "none"}
                | {"rounds": [ROUNDS["rounds"][0], ROUNDS["rounds"][1] | {"teacher": "org/other"}]},
                "distillation": {"alpha": 0},
            },
            "round 2 of route.rounds has a teacher, but distillation.alpha is 0",
        ),
        (
            {
                "route": ROUNDS | {"rounds": [ROUNDS["rounds"][0], ROUNDS["rounds"][1] | {"steps": 5}]},
                "distillation": {"alpha": {"shape": "agreement", "enough": 0.5}},
            },
            "the training has 5, so that it would never move",
        ),
    ],
)
def test_knowledge_that_cannot_be_mixed_with_the_student_before_is_refused(changes: dict, said: str):
    with pytest.raises(InputError, match=said):
        recipe(**{"route": ROUNDS} | changes)


@pytest.mark.parametrize("route", [ROUNDS, {"kind": "born_again", "generations": 3}], ids=["rounds", "born again"])
def test_a_student_that_exists_goes_through_rounds_and_generations_too(route: dict, tmp_path: Path):
    existing = {"kind": "model", "source": load_recipe(RECIPE).teacher.source}
    asked, found = taught(tmp_path, route=route, student=existing)
    assert "load_student" in asked.names and asked.names.count("distill") == len(found.before) + 1


def test_another_teacher_with_other_tokens_is_refused(roomy_model: Path, tmp_path: Path):
    """A round's, and one of several; its context is large enough, so that its tokens alone are wrong."""
    rounds = [ROUNDS["rounds"][0], ROUNDS["rounds"][1] | {"teacher": str(roomy_model)}]
    member = {"kind": "ensemble", "members": [{"teacher": str(roomy_model)}]}
    for changes in ({"route": ROUNDS | {"rounds": rounds}}, {"knowledge": member}):
        with pytest.raises(InputError, match=r"the tokenizers differ: .*, or let it write"):
            examine(recipe(**changes), RECIPE.parent, Store(tmp_path))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (6, "student 1 of route.through has .*M parameters, and the one before it, which teaches it"),
        (4, "the recipe's student has .*M parameters, and the last of route.through"),
        (9, "student 1 of route.through: student.layers is 9, but .* has 6 layers"),
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
        ({"route": THROUGH, "student": {"kind": "low_rank"}}, "student.kind is low_rank; .* or low_rank with a cut"),
        (
            {"route": THROUGH, "student": {"kind": "low_rank", "cut": {"kind": "width", "parameters_share": 0.5}}},
            "give parameters, a number",
        ),
        (
            {"route": {"kind": "born_again"}, "knowledge": {"kind": "endpoint", "url": "http://x/v1", "model": "m"}},
            "knowledge.kind is endpoint, which is of the recipe's teacher alone",
        ),
        (
            {"route": {"kind": "born_again"}, "knowledge": {"kind": "moving_average"}, "distillation": {"alpha": 0.3}},
            "moving_average, by which a student is taught by itself alone",
        ),
        ({"route": THROUGH, "student": {"kind": "width", "parameters_share": 0.5}}, "give parameters, a number"),
        (
            {"route": {"kind": "born_again"}, "distillation": {"features": {"layers": {"2": 3}}}},
            "names layers of the recipe's teacher",
        ),
        ({"route": {"kind": "born_again", "generations": 1}}, "greater than or equal to 2"),
        ({"route": {"kind": "born_again"}, "distillation": {"alpha": 0}}, "none is taught and all come out alike"),
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
            "from the text": {"kind": "born_again", "generations": 2, "first": "text"},
        }.items()
    }
    ordered = examine(recipe(curriculum={}), RECIPE.parent, Store(tmp_path)).cost
    assert ordered.seconds > costs["direct"].seconds
    rows, length = 8, 256
    assert costs["progressive"].training_tokens == costs["direct"].training_tokens + 7 * rows * length
    assert costs["twice"].training_tokens == 2 * costs["direct"].training_tokens
    assert costs["direct"].seconds < costs["progressive"].seconds < costs["twice"].seconds
    # As many tokens, but no teacher reads those of the first generation.
    assert costs["from the text"].training_tokens == costs["twice"].training_tokens
    assert costs["direct"].seconds < costs["from the text"].seconds < costs["twice"].seconds
    in_rounds = examine(recipe(route=ROUNDS), RECIPE.parent, Store(tmp_path)).cost
    assert in_rounds.training_tokens == costs["direct"].training_tokens + 3 * rows * length
    assert costs["direct"].disk_bytes < costs["progressive"].disk_bytes


NARROW = {"kind": "width", "feed_forward_size": 64}
SHALLOW = {"kind": "depth", "layers": 4}


@pytest.mark.parametrize(
    ("first", "last"), [(NARROW, SHALLOW), (SHALLOW, NARROW)], ids=["width, depth", "depth, width"]
)
def test_each_student_is_as_large_as_what_is_left_of_the_one_before(first: dict, last: dict, tmp_path: Path):
    """Preflight measured every one of them against the teacher, and refused chains that work."""
    store, both = Store(tmp_path), SHALLOW | NARROW | {"kind": "depth_and_width"}
    found = examine(
        recipe(student=last, route={"kind": "progressive", "through": [{"student": first}]}), RECIPE.parent, store
    )
    alone = examine(recipe(student=both), RECIPE.parent, store)
    assert found.student.parameters == pytest.approx(alone.student.parameters, rel=1e-3)
    assert replace(found.student, parameters=alone.student.parameters) == alone.student
    assert found.student.parameters < min(
        examine(recipe(student=each), RECIPE.parent, store).student.parameters for each in (first, last)
    )


def test_a_student_cannot_keep_more_layers_than_the_one_before_it_has(tmp_path: Path):
    route = {"kind": "progressive", "through": [{"student": {"kind": "depth", "layers": 3}}]}
    with pytest.raises(InputError, match="student.layers is 4, but student 1 of route.through has 3 layers"):
        examine(recipe(student=SHALLOW, route=route), RECIPE.parent, Store(tmp_path))


def test_generations_begin_alike_so_the_start_is_paid_for_once(tmp_path: Path):
    """Held-out reading aside, each further generation costs what the one before did: no ranking and no fit again."""
    costs = [
        examine(
            recipe(refit={"tokens": 4096}, route={"kind": "born_again", "generations": number}),
            RECIPE.parent,
            Store(tmp_path),
        ).cost.seconds
        for number in (2, 3, 4)
    ]
    plain = [
        examine(
            recipe(route={"kind": "born_again", "generations": number}), RECIPE.parent, Store(tmp_path)
        ).cost.seconds
        for number in (2, 3, 4)
    ]
    starts = [fitted - cut for fitted, cut in zip(costs, plain, strict=True)]
    assert starts[0] > 0 and starts == pytest.approx([starts[0]] * 3)


def test_text_of_a_later_round_counts_where_the_first_has_a_number_of_steps(tmp_path: Path):
    whole = examine(recipe(), RECIPE.parent, Store(tmp_path)).cost.training_tokens
    rounds = [ROUNDS["rounds"][0] | {"steps": 3}, {"sets": ROUNDS["rounds"][1]["sets"]}]
    found = examine(recipe(route=ROUNDS | {"rounds": rounds}), RECIPE.parent, Store(tmp_path)).cost.training_tokens
    rows, length, replayed = 8, 256, round(whole * 0.25 / 2)
    assert found == 3 * rows * length + whole + replayed


def test_every_student_that_is_cut_is_refitted_before_it_is_trained(tmp_path: Path):
    asked, found = taught(tmp_path, route=THROUGH, refit={"tokens": 4096})
    assert asked.names == ["prune_layers", "refit_layers", "distill"] * 2
    (cut, fit, learn), (last_cut, last_fit, last_learn) = asked.stages[:3], asked.stages[3:]
    for stages, teacher in (((cut, fit, learn), READ["teacher"]), ((last_cut, last_fit, last_learn), None)):
        (_, _, read), (_, told, fitted), (_, _, learns) = stages
        assert told.refit.tokens == 4096
        assert fitted["teacher"] == read["teacher"] == learns["teacher"]
        assert fitted["start"].kind == "prune_layers" and learns["start"].kind == "refit_layers"
        assert teacher is None or read["teacher"] == teacher
    assert found.start.kind == "refit_layers"
    # What was refitted is among what a run's results name.
    cuts = {name: found.knowledge[name].kind for name in ("intermediate-1_cut", "cut")}
    assert set(cuts.values()) == {"prune_layers"}


def test_what_is_made_low_rank_after_a_cut_is_named_too(tmp_path: Path):
    student = {"kind": "low_rank", "cut": {"kind": "depth", "layers": 3}}
    asked, found = taught(tmp_path, student=student)
    assert asked.names == ["prune_layers", "low_rank", "distill"]
    assert found.knowledge["cut"].kind == "prune_layers" and found.start.kind == "low_rank"
    assert "cut" not in taught(tmp_path)[1].knowledge
