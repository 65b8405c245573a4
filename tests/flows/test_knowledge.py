"""Which stages make what a training reads of its teachers."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from flows import export_model, finished_run
from flows.compress import in_order
from flows.knowledge import gather_knowledge
from flows.preflight import prepare
from flows.work import Made, Planner, Work, directly
from stillhouse.errors import InputError
from stillhouse.recipe.changes import NO_CHANGES
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.knowledge import Endpoint, Knowledge
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.store.artifact import MANIFEST, Reference
from stillhouse.store.store import Store
from tests.conftest import RECIPE

# The module, and not the flow of its name.
compress = import_module("flows.compress")
TEACHER, DATASET = Reference("load_teacher", "1" * 64), Reference("encode_documents", "2" * 64)
FULL = {"kind": "cached", "targets": {"kind": "full"}, "shard_tokens": 60_000}


def gathered(knowledge: dict, tmp_path: Path, **distillation) -> tuple[list[str], set[str]]:
    """The stages in their order, and the names of what the training then reads."""
    recipe = SimpleNamespace(
        distillation=Distillation(**distillation),
        knowledge=TypeAdapter(Knowledge).validate_python(knowledge),
        data=SimpleNamespace(sequence_length=256, train_tokens=100_000),
    )
    compute = Compute(device="cpu", precision="fp32", threads=1, seed=0)
    members = tuple(each for each in getattr(recipe.knowledge, "members", ()))
    settings = SimpleNamespace(recipe=recipe, compute=compute, members=members)
    stages = []

    def call(task, store, settings, inputs) -> Reference:
        stages.append(task.fn.__name__)
        return Reference(task.fn.__name__, f"{len(stages):064d}")

    found = gather_knowledge(settings, Work(Store(tmp_path), call), TEACHER, DATASET)
    return stages, set(found)


CAPTURE = ["list_samples", "capture_shard", "capture_shard", "assemble_cache"]


@pytest.mark.parametrize(
    ("knowledge", "stages", "read"),
    [
        ({"kind": "online"}, [], set()),
        ({"kind": "endpoint", "url": "http://x/v1", "model": "m"}, [], set()),
        (FULL, CAPTURE, {"cache"}),
        ({"kind": "ensemble", "members": [{"teacher": "org/other"}]}, ["load_teacher"], {"teacher_1"}),
        (
            {"kind": "ensemble", "own": FULL, "members": [{"teacher": "org/other", "knowledge": FULL}]},
            [*CAPTURE, "load_teacher", *CAPTURE],
            {"cache", "teacher_1", "cache_1"},
        ),
    ],
)
def test_each_kind_of_knowledge_makes_what_opening_it_reads(knowledge, stages, read, tmp_path):
    assert gathered(knowledge, tmp_path) == (stages, read)


OWN = {"kind": "moving_average"}
AGREEING = {"shape": "agreement", "enough": 0.5}


def test_a_students_own_average_may_have_all_of_the_first_step(tmp_path):
    """There it says what the student says; the text has a share of every later step."""
    assert gathered(OWN, tmp_path, alpha={"start": 1.0, "end": 0.0}) == ([], set())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"knowledge": {"kind": "cached"}}, "sampled targets are drawn at temperature 1"),
        (
            {"knowledge": {**FULL, "targets": {"kind": "top_k"}}, "distillation": {"loss": {"kind": "taid"}}},
            "distillation.loss is taid, which needs the whole distribution",
        ),
        ({"distillation": {"features": {}}, "knowledge": FULL}, "name them, student layer to teacher layer"),
        (
            {"distillation": {"features": {}}, "knowledge": {"kind": "endpoint", "url": "http://x/v1", "model": "m"}}
            | {"distillation": {"features": {}, "temperature": 1.0}},
            "knowledge of kind endpoint has none",
        ),
        ({"distillation": {"alpha": {"start": 1.2, "end": 0}}}, "alpha moves from 1.2 to 0"),
        ({"distillation": {"temperature": {"start": 2, "end": 0}}}, "it must stay above 0"),
        ({"distillation": {"loss": {"kind": "jensen_shannon", "beta": 1}}}, "distillation.loss.jensen_shannon.beta"),
        ({"compute": {"sharding": "full"}}, "there is one process to hold the shards"),
        ({"knowledge": OWN, "distillation": {"alpha": 1}}, "gives the text no share"),
        ({"knowledge": OWN, "distillation": {"alpha": 0}}, "alpha is 0, so that it is never asked"),
        ({"knowledge": OWN, "distillation": {"alpha": AGREEING}}, "it agrees from the first step"),
        (
            {"knowledge": OWN, "distillation": {"temperature": AGREEING | {"start": 2, "end": 1}}},
            "distillation.temperature moves as the student .* it agrees from the first step",
        ),
        ({"knowledge": OWN | {"decay": 0}}, "the average is the student as it is"),
        (
            {"knowledge": {"kind": "ensemble", "members": [{"teacher": "org/other"}]}, "distillation": {"alpha": 0}},
            "alpha is 0, so that the teachers of an ensemble would never be asked",
        ),
        (
            {"knowledge": {"kind": "endpoint", "url": "http://x/v1", "model": "m"}, "distillation": {"alpha": 0}},
            "alpha is 0, so that a server would never be asked",
        ),
        ({"knowledge": FULL, "distillation": {"alpha": 0}}, "alpha is 0, so that a cache would never be asked"),
        ({"distillation": {"alpha": 0, "loss": {"kind": "taid"}}}, "loss is taid, and alpha is 0, so that nothing"),
        (
            {"distillation": {"alpha": {"start": 0, "end": 0}, "features": {}, "loss": {"kind": "reverse_kl"}}},
            "loss is reverse_kl, and alpha is 0, so that nothing is compared",
        ),
        (
            {"distillation": {"alpha": 0, "temperature": {"start": 4, "end": 1}}},
            "temperature moves from 4 to 1, and alpha is 0",
        ),
        (
            {"distillation": {"alpha": AGREEING, "on_policy": {"share": 1}}},
            "on_policy.share is 1, .* alpha would not move",
        ),
        ({"distillation": {"alpha": {}, "on_policy": {"share": 1}}}, "on_policy.share is 1, .* alpha would not move"),
        (
            {"distillation": {"temperature": AGREEING | {"start": 2, "end": 1}, "on_policy": {"share": 1}}},
            "on_policy.share is 1, .* temperature would not move",
        ),
        (
            {"curriculum": {"order": {"kind": "shuffled"}, "difficulty": "length", "leave_out": {"above": 3}}},
            "difficulty is length, by which rows are ordered, and order is shuffled",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_when_the_recipe_is_read(changes, said):
    content = load_recipe(RECIPE).model_dump(mode="json", exclude={"knowledge", "distillation", "compute"})
    with pytest.raises(InputError, match=said):
        validated(Recipe, content | changes, "recipe.yaml")


def test_what_a_training_read_of_its_teachers_is_in_the_lineage_of_the_run(tmp_path):
    told = {"kind": "ensemble", "own": FULL, "members": [{"teacher": "org/other"}]}
    recipe = load_recipe(RECIPE)
    other = prepare(recipe, RECIPE.parent, Store(tmp_path / "store"))
    content = recipe.model_dump(mode="json") | {"knowledge": told}
    settings = replace(other, recipe=validated(Recipe, content, "recipe.yaml"), member_sources=(other.teacher_source,))
    read = {}

    def call(task, store, settings, inputs) -> Reference:
        read[task.fn.__name__] = inputs
        return directly(task, store, settings, inputs)

    in_order(settings, Work(Planner(tmp_path / "store"), call))
    known = {"teacher", "teacher_1", "cache"}
    assert {read["assemble_results"][name] for name in known} == {read["distill"][name] for name in known}


ASKED = {"kind": "endpoint", "url": "http://server/v1", "model": "m", "api_key_variable": "TEACHER_KEY"}


def taught_by_an_endpoint(**changes) -> Recipe:
    content = load_recipe(RECIPE).model_dump(mode="json")
    content["distillation"]["temperature"] = 1.0
    return validated(Recipe, content | {"knowledge": {**ASKED, **changes}}, "recipe.yaml")


def test_a_run_that_an_endpoint_taught_is_taken_up_again_without_its_address(tmp_path):
    """`stillhouse export RUN` reads the recipe of results.json, in which no address is."""
    content = taught_by_an_endpoint().model_dump(mode="json")
    assert "url" not in content["knowledge"]
    again = finished_run._recipe(content, tmp_path)
    assert again.knowledge == Endpoint(model="m")
    assert export_model._asked(again, ["onnx-fp32"]).export.variants == ("onnx-fp32",)


def test_where_an_endpoint_is_decides_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "secret")
    one, other = (
        prepare(taught_by_an_endpoint(url=url), RECIPE.parent, Store(tmp_path / "store")).distill
        for url in ("http://one/v1", "http://other/v1")
    )
    assert one.model_dump() == other.model_dump()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": None}, "knowledge.url is missing"),
        ({}, "environment variable TEACHER_KEY, which knowledge.api_key_variable names, is not set"),
    ],
)
def test_an_endpoint_that_could_not_be_asked_is_refused_before_anything_is_made(changes, said, tmp_path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(InputError, match=said):
        prepare(taught_by_an_endpoint(**changes), RECIPE.parent, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_server_is_tried_before_anything_is_made_unless_the_training_is_there(tmp_path, monkeypatch):
    """A run that is past it may be taken up again when the server is gone or serves another model."""
    tried, training, store = [], Reference("distill", "1" * 64), Store(tmp_path / "store")
    found = SimpleNamespace(
        settings=None, teacher=SimpleNamespace(vocabulary_size=300), cost=SimpleNamespace(training_tokens=0)
    )
    monkeypatch.setattr(compress, "examine", lambda *_, **__: found)
    monkeypatch.setattr(compress, "load_recipe", lambda *_: taught_by_an_endpoint())
    monkeypatch.setattr(compress, "try_endpoint", lambda knowledge, size: tried.append((knowledge.model, size)))
    monkeypatch.setattr(compress, "in_order", lambda settings, work: Made((training,), training, training, None))
    compress.check_recipe(RECIPE, NO_CHANGES, tmp_path)
    assert tried == [("m", 300)]
    store.folder(training).mkdir(parents=True)
    (store.folder(training) / MANIFEST).touch()
    compress.check_recipe(RECIPE, NO_CHANGES, tmp_path)
    assert len(tried) == 1
