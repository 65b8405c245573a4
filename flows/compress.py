"""Teacher in, package out: the order of work of a compression."""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.delivery import deliver, prepare_data, score_models
from flows.preflight import prepare
from flows.run_folder import RunFolder, carry_out
from flows.settings import SettingsOfStages
from flows.work import Call, Made, Work, through_prefect
from stillhouse.models.pruning import PruneSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe import load_recipe
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher
from tasks.fetch_student import load_student
from tasks.prune import prune_layers


@flow(name="compress", flow_run_name="compress-{recipe}", persist_result=False)
def compress(recipe: str, runs: str = "runs") -> dict[str, Any]:
    """Compress a teacher into a package, as a recipe says.

    Args:
        recipe: Path of a recipe, as `recipes/demo.yaml`.
        runs: Folder that holds all that runs make, the store included.
    """
    folder = run_recipe(Path(recipe), Path(runs), through_prefect)
    return {"verdict": folder.verdict, "run": str(folder.path)}


def run_recipe(recipe_path: Path, runs: Path, call: Call) -> RunFolder:
    """Run a recipe from preflight to the run's folder; `call` is the way to run a stage.

    Raises:
        InputError: If the recipe or what it names is wrong, before any stage starts.
    """
    recipe = load_recipe(recipe_path)
    store = Store(runs.resolve() / "store")
    settings = prepare(recipe, recipe_path.resolve().parent, store)
    return carry_out(partial(in_order, settings), recipe.name, store, call)


def in_order(settings: SettingsOfStages, work: Work) -> Made:
    """The order of work, its one definition: name each stage, its settings and what it reads."""
    teacher = work.make(load_teacher, settings.teacher, {})
    data = prepare_data(settings, work, teacher)
    read = {"teacher": teacher, "dataset": data["dataset"]}
    start = make_start(settings, work, read)
    student = work.make(distill, settings.distill, {"start": start, **read})
    models = {"teacher": teacher, "pruned": start, "student": student}
    scores = score_models(settings, work, models, data["dataset"])
    return deliver(settings, work, {**models, **data, **scores})


def make_start(settings: SettingsOfStages, work: Work, read: dict[str, Reference]) -> Reference:
    """The student before it is trained: cut from the teacher, or a model that exists."""
    match settings.start:
        case PruneSettings() as prune:
            return work.make(prune_layers, prune, read)
        case LoadTeacherSettings() as existing:
            return work.make(load_student, existing, {})
