"""Teacher in, package out: the order of work of a compression."""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.asked import Preset, name_of_run, recipe_path
from flows.attended import Outcome, attended, checked, outcome_of
from flows.delivery import References, check_evidence, deliver, measure_before, prepare_data, score_models
from flows.preflight import examine
from flows.route import teach
from flows.run_folder import Asked, carry_out
from flows.settings import SettingsOfStages
from flows.work import Made, Work, through_prefect
from stillhouse.recipe import load_recipe
from stillhouse.recipe.changes import NO_CHANGES, Changes
from stillhouse.recipe.knowledge import Endpoint
from stillhouse.store.store import Store
from stillhouse.teachers.endpoint import try_endpoint
from tasks.fetch import load_teacher


@flow(name="compress", flow_run_name=name_of_run, persist_result=False)
def compress(
    preset: Preset = "demo", recipe: str = "", changes: Changes = NO_CHANGES, runs: str = "runs"
) -> dict[str, Any]:
    """Compress a teacher into a package that is ready to serve.

    Args:
        preset: A recipe that ships with Stillhouse. tiny: three minutes, for a first look. demo: 16 minutes on
            two cores, some 28 on older ones. smollm2-1.7b-to-360m: needs a model hub and a GPU.
        recipe: Path of a recipe of your own, on the worker's machine, instead of a preset.
        changes: What this run does otherwise than its recipe says. What is left empty stays as the recipe has it.
        runs: Folder on the worker's machine that holds all that runs make, the store included.
    """
    return attended(lambda: _in_flow(recipe_path(preset, recipe), changes, Path(runs)))


def _in_flow(recipe: Path, changes: Changes, runs: Path) -> Outcome:
    asked = checked(partial(check_recipe, recipe, changes, runs))
    return outcome_of(carry_out(asked, through_prefect))


def check_recipe(recipe: Path, changes: Changes, runs: Path, *, threads: int | None = None, at_once: int = 1) -> Asked:
    """Do all of preflight.

    Args:
        recipe: Path of the recipe.
        changes: What is done otherwise than it says.
        runs: Folder that holds all that runs make.
        threads: Of a recipe that leaves them open; left out, the cores that this process may use.
        at_once: Runs like this one that work beside it on this machine.

    Raises:
        InputError: If the recipe or what it names is wrong.
    """
    read = load_recipe(recipe, changes)
    if threads is not None and read.threads == "auto":
        read = read.model_copy(update={"threads": threads})
    store = Store(runs.resolve() / "store")
    found = examine(read, recipe.resolve().parent, store, at_once=at_once)
    asked = Asked(partial(in_order, found.settings), read.name, store, found.cost.training_tokens)
    if isinstance(read.knowledge, Endpoint) and not _is_trained(asked):
        try_endpoint(read.knowledge, found.teacher.vocabulary_size)
    return asked


def _is_trained(asked: Asked) -> bool:
    """Whether the store has all trainings: then nobody is asked any more."""
    trainings = [reference for reference in asked.planned().artifacts if reference.kind == "distill"]
    return all(asked.store.has(reference) for reference in trainings)


def in_order(settings: SettingsOfStages, work: Work) -> Made:
    """The order of work, its one definition: name each stage, its settings and what it reads."""
    teacher = work.make(load_teacher, settings.teacher, {})
    data = prepare_data(settings, work, teacher)
    check_evidence(settings, work, data["dataset"])
    read: References = {name: data[name] for name in ("dataset", "tokenizer", "dataset_teacher") if name in data}
    taught = teach(settings, work, {"teacher": teacher, **read})
    models = {"teacher": teacher, "pruned": taught.start, "student": taught.student}
    scores = score_models(settings, work, models, data) | measure_before(settings, work, taught.before, models, data)
    return deliver(settings, work, {**models, **data, **scores, **taught.knowledge})
