"""Techniques laid upon each other at random, and trained: what the recipe accepts must not fail hours later."""

import random
from pathlib import Path
from typing import Any, get_args

import pytest

from flows.delivery import prepare_data
from flows.preflight import prepare
from flows.route import teach
from flows.work import Work, directly
from stillhouse.errors import InputError
from stillhouse.recipe.knowledge import Ensemble
from stillhouse.recipe.losses import Following, LossKind, Moves
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.store import Store
from tasks.fetch import load_teacher
from tests.conftest import RECIPE, ROOT

TINY = load_recipe(RECIPE)
TEACHER = str(ROOT / "tests" / "tiny_teacher")
SETS: dict[str, dict[str, Any]] = {
    "boolq-passages": {"kind": "packaged", "name": "boolq-passages", "limit": 120},
    "reasoning-gym": {"kind": "packaged", "name": "reasoning-gym", "limit": 30},
    "pubmed-abstracts": {"kind": "packaged", "name": "pubmed-abstracts", "limit": 40},
    "reasoning": {"kind": "reasoning", "families": ["chain_sum"], "tasks": 30, "form": "two_tasks"},
}
DEPTH = {"kind": "depth", "layers": 4, "ranking_tokens": 512}
STUDENTS = [
    DEPTH,
    {"kind": "width", "parameters_share": 0.7},
    {"kind": "depth_and_width", "layers": 4, "parameters_share": 0.5},
    {"kind": "low_rank", "train_tokens": 2000, "validation_tokens": 500, "steps": 3, "cut": DEPTH},
    {"kind": "fresh", "layers": 2},
]
LOSSES = get_args(LossKind)
AGREEMENT = {"shape": "agreement", "enough": 0.4, "smoothing_steps": 1}
ALPHAS = [0.0, 0.5, 1.0, {"shape": "linear"}, {"shape": "cosine", "start": 1.0, "end": 0.0}, AGREEMENT]
TEMPERATURES = [1.0, 2.0, {"shape": "linear", "start": 3.0, "end": 1.0}, AGREEMENT | {"start": 3.0, "end": 1.0}]
FULL = {"kind": "cached", "targets": {"kind": "full"}}
KNOWLEDGE = [
    {"kind": "online"},
    FULL,
    {"kind": "cached", "targets": {"kind": "top_k", "k": 8}},
    {"kind": "cached", "targets": {"kind": "sampled", "draws": 8}},
    {"kind": "moving_average", "decay": 0.9},
    {"kind": "ensemble", "members": [{"teacher": TEACHER, "knowledge": FULL}]},
    {"kind": "ensemble", "weighting": {"kind": "by_confidence"}, "members": [{"teacher": TEACHER}]},
    {
        "kind": "ensemble",
        "weighting": {"kind": "by_domain"},
        "members": [{"teacher": TEACHER, "serves": ["boolq-passages"]}],
    },
]
ROUTES = [
    None,
    {"kind": "progressive", "through": [{"student": DEPTH | {"layers": 5}, "steps": 2}]},
    {"kind": "born_again"},
    {"kind": "born_again", "first": "text"},
    "continual",
]
SAMPLED = [{"samples": 2, "weigh": "by_entropy"}, {"samples": 2, "keep": {"distinct": True}}]
CURRICULA = [
    {"difficulty": "start_loss", "order": {"kind": "hard_first"}},
    {"difficulty": "length", "order": {"kind": "growing_pool"}},
    {"order": {"kind": "shuffled"}, "leave_out": {"worst_share": 0.1}},
]


def draw(generator: random.Random) -> dict[str, Any]:
    """A recipe of techniques that may or may not go together."""
    pick = generator.choice

    def perhaps(*values: Any) -> Any:
        return pick(values) if generator.random() < 0.3 else None

    names = ["boolq-passages", *(name for name in list(SETS)[1:] if generator.random() < 0.5)]
    content = TINY.model_dump(mode="json", exclude_none=True) | {"gates": [], "threads": 1}
    content["data"] |= {
        "sets": [SETS[name] for name in names],
        **{"train_tokens": 6000, "validation_tokens": 1000, "held_out_tokens": 1500},
        "answers": {"max_new_tokens": 8, "sampled": perhaps(*SAMPLED)},
        "selection": perhaps(
            {"near_duplicates": 0.7}, {"similar_to": {"set": names[-1], "share": 0.5}}, {"weights": {names[-1]: 1.5}}
        ),
    }
    content["distillation"] = {
        "loss": {"kind": pick(LOSSES)},
        **{"alpha": pick(ALPHAS), "temperature": pick(TEMPERATURES)},
        "features": perhaps({"rank": 8}, {"rank": 8, "layers": {"1": 1}, "balance": "logit_loss"}),
        "on_policy": perhaps({"share": 0.5, "max_new_tokens": 8}),
        **{"steps": 2, "batch_rows": 2, "accumulation": pick([1, 2]), "warmup_steps": 0},
    }
    content |= {"student": pick(STUDENTS), "knowledge": pick(KNOWLEDGE), "curriculum": perhaps(*CURRICULA)}
    content |= {"refit": perhaps({"tokens": 2048}), "compute": perhaps({"lora": {"rank": 4}}) or {}}
    route = pick(ROUTES)
    if route == "continual":
        rounds = [{"sets": [name], "steps": 2} for name in names]
        replay = {"replay": 0.5, "previous_student": pick(["none", "replayed", "everywhere"])}
        route = {"kind": "continual", "rounds": rounds, **replay} if len(names) > 1 else None
    return content | ({"route": route} if route else {})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("runs") / "store")


def test_what_is_accepted_is_of_every_kind():
    """Else a technique that is always refused would not be missed below."""
    generator, seen = random.Random(0), set[tuple[str, str]]()
    for _ in range(1500):
        try:
            recipe = validated(Recipe, draw(generator), "the drawn recipe")
        except InputError:
            continue
        seen |= {
            ("student", recipe.student.kind),
            ("route", recipe.route.kind),
            ("knowledge", recipe.knowledge.kind),
            ("loss", recipe.distillation.loss.kind),
            ("alpha", _moved_by(recipe.distillation.alpha)),
            ("temperature", _moved_by(recipe.distillation.temperature)),
            ("curriculum", "there" if recipe.curriculum else "none"),
            ("refit", "there" if recipe.refit else "none"),
            ("features", "there" if recipe.distillation.features else "none"),
            ("on_policy", "there" if recipe.distillation.on_policy else "none"),
            ("sampled", "there" if recipe.data.answers.sampled else "none"),
            ("rationales", "there" if any(each.kind == "reasoning" for each in recipe.data.sets) else "none"),
        }
        if isinstance(recipe.knowledge, Ensemble):
            seen.add(("weighting", recipe.knowledge.weighting.kind))
        if recipe.data.selection:
            seen |= {("selection", name) for name in recipe.data.selection.model_fields_set}
    students, routes = {each["kind"] for each in STUDENTS}, {"direct", "progressive", "born_again", "continual"}
    assert {kind for what, kind in seen if what == "student"} == students
    assert {kind for what, kind in seen if what == "route"} == routes
    assert {kind for what, kind in seen if what == "knowledge"} == {each["kind"] for each in KNOWLEDGE}
    assert {kind for what, kind in seen if what == "loss"} == set(LOSSES)
    for what in ("alpha", "temperature"):
        assert {kind for name, kind in seen if name == what} == {"nothing", "the step", "agreement"}
    assert {kind for what, kind in seen if what == "weighting"} == {"fixed", "by_confidence", "by_domain"}
    assert {kind for what, kind in seen if what == "selection"} == {"near_duplicates", "similar_to", "weights"}
    for what in ("curriculum", "refit", "features", "on_policy", "sampled", "rationales"):
        assert (what, "there") in seen and (what, "none") in seen


def _moved_by(value: float | Moves) -> str:
    return "nothing" if isinstance(value, float) else "agreement" if isinstance(value, Following) else "the step"


@pytest.mark.parametrize("number", range(12))
def test_what_the_recipe_accepts_can_be_trained(number: int, store: Store):
    generator = random.Random(number)
    for _ in range(200):
        try:
            recipe = validated(Recipe, draw(generator), "the drawn recipe")
            settings = prepare(recipe, Path(RECIPE).parent, store)
        except InputError:
            continue
        break
    else:
        pytest.fail("200 recipes drawn, and none that is accepted")
    work = Work(store, directly)
    teacher = work.make(load_teacher, settings.teacher, {})
    dataset = prepare_data(settings, work, teacher)["dataset"]
    taught = teach(settings, work, {"teacher": teacher, "dataset": dataset})
    assert work.facts(taught.student)["steps"] == 2
