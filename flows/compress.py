"""Teacher in, package out: the order of work of a compression."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.preflight import prepare
from flows.run_folder import RunFolder, open_run
from flows.settings import SettingsOfStages
from flows.work import Call, Made, Planner, Work, directly, through_prefect
from stillhouse.models.pruning import PruneSettings
from stillhouse.models.teacher import LoadTeacherSettings
from stillhouse.recipe import load_recipe
from stillhouse.store import collect
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.answer import answer_prompts
from tasks.assemble import assemble_results
from tasks.build_package import build_package
from tasks.compare_variant import measure_parity
from tasks.convert import export_onnx
from tasks.distill import distill
from tasks.encode import encode_documents
from tasks.fetch import load_teacher
from tasks.fetch_student import load_student
from tasks.gather import gather_documents
from tasks.keep_student import copy_student
from tasks.prune import prune_layers
from tasks.quantize import quantize_int4
from tasks.score_benchmarks import evaluate_capability
from tasks.score_held_out import measure_held_out
from tasks.time_variant import measure_efficiency
from tasks.write_report import write_report


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
    runs = runs.resolve()
    store = Store(runs / "store")
    settings = prepare(recipe, recipe_path.resolve().parent, store)
    with collect.held_off(store.root):
        planned = in_order(settings, Work(Planner(store.root), directly))
        folder = open_run(runs, recipe.name, planned)
    made = in_order(settings, Work(store, call))
    return folder.filled(store, made)


def in_order(settings: SettingsOfStages, work: Work) -> Made:
    """The order of work, its one definition: name each stage, its settings and what it reads."""
    teacher = work.make(load_teacher, settings.teacher, {})
    data = prepare_data(settings, work, teacher)
    read = {"teacher": teacher, "dataset": data["dataset"]}
    start = make_start(settings, work, read)
    student = work.make(distill, settings.distill, {"start": start, **read})
    models = {"teacher": teacher, "pruned": start, "student": student}
    scores = score_models(settings, work, models, data["dataset"])
    variants = make_variants(settings, work, student, data["dataset"])
    measured = measure_variants(settings, work, variants, data["dataset"])
    found = {**models, **data, **scores, **variants, **measured}
    results = work.make(assemble_results, settings.assemble(work.absent), found)
    report = work.make(write_report, settings.report, {"results": results, "pruned": start, "student": student})
    ships = {"results": results, "report": report, "dataset": data["dataset"], **variants}
    blocked = work.facts(results).get("verdict") == "blocked"
    package = None if blocked else work.make(build_package, settings.package, ships)
    return Made((settings.probe, *work.artifacts), results, report, package)


def prepare_data(settings: SettingsOfStages, work: Work, teacher: Reference) -> dict[str, Reference]:
    """Documents, the teacher's answers to those that are prompts, and the token ids of both."""
    documents = work.make(gather_documents, settings.documents, {})
    answers = work.make(answer_prompts, settings.answers, {"teacher": teacher, "documents": documents})
    read = {"teacher": teacher, "documents": documents, "answers": answers}
    return {"documents": documents, "answers": answers, "dataset": work.make(encode_documents, settings.encode, read)}


def make_start(settings: SettingsOfStages, work: Work, read: dict[str, Reference]) -> Reference:
    """The student before it is trained: cut from the teacher, or a model that exists."""
    match settings.start:
        case PruneSettings() as prune:
            return work.make(prune_layers, prune, read)
        case LoadTeacherSettings() as existing:
            return work.make(load_student, existing, {})


def score_models(
    settings: SettingsOfStages, work: Work, models: dict[str, Reference], dataset: Reference
) -> dict[str, Reference]:
    """Benchmarks and held-out text, for each model beside its teacher."""
    scores = {}
    for name, model in models.items():
        scores[f"capability_{name}"] = work.make(evaluate_capability, settings.capability, {"model": model})
        read = {"model": model, "teacher": models["teacher"], "dataset": dataset}
        scores[f"held_out_{name}"] = work.make(measure_held_out, settings.held_out, read)
    return scores


def make_variants(
    settings: SettingsOfStages, work: Work, student: Reference, dataset: Reference
) -> dict[str, Reference]:
    """The deployable forms, by `variant_<name>`; one that cannot be made is noted with its reason."""
    made = {"variant_torch-fp32": work.make(copy_student, settings.copy_student, {"student": student})}
    asked = [name for name in settings.variants if name.startswith("onnx")]
    onnx = work.attempt(asked, export_onnx, settings.export_onnx, {"student": student}) if asked else None
    if onnx is None:
        return made
    if "onnx-fp32" in asked:
        made["variant_onnx-fp32"] = onnx
    if "onnx-int4" in asked:
        read = {"onnx": onnx, "dataset": dataset}
        int4 = work.attempt(["onnx-int4"], quantize_int4, settings.quantize_int4, read)
        made |= {} if int4 is None else {"variant_onnx-int4": int4}
    return made


def measure_variants(
    settings: SettingsOfStages, work: Work, variants: dict[str, Reference], dataset: Reference
) -> dict[str, Reference]:
    """Quality, speed and memory of each variant, from its saved bytes."""
    measured = {}
    for name, variant in variants.items():
        short = name.removeprefix("variant_")
        read = {"variant": variant, "reference": variants["variant_torch-fp32"], "dataset": dataset}
        measured[f"parity_{short}"] = work.make(measure_parity, settings.parity, read)
        measured[f"efficiency_{short}"] = work.make(measure_efficiency, settings.efficiency, {"variant": variant})
    return measured
