"""A student or model that exists in, package out: what a serving team asks for."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.asked import name_of_run
from flows.attended import Outcome, attended, checked, outcome_of
from flows.delivery import check_evidence, deliver, prepare_data, score_models
from flows.finished_run import is_run, open_finished_run
from flows.preflight import check_run_again, prepare_export
from flows.run_folder import Asked, RunFolder, carry_out
from flows.settings import SettingsOfDelivery, SettingsOfExport
from flows.work import Call, Made, Work, through_prefect
from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.failures import is_disk_full
from stillhouse.recipe import load_export_recipe
from stillhouse.recipe.changes import gates_on
from stillhouse.recipe.export import VariantName
from stillhouse.recipe.recipe import Kind, validated
from stillhouse.store.artifact import MANIFEST, Reference, find_damage, read_manifest
from stillhouse.store.fingerprint import PROJECT_ROOT
from stillhouse.store.links import link_tree
from stillhouse.store.store import Store
from tasks.fetch_student import load_student

RECIPE = PROJECT_ROOT / "recipes" / "export.yaml"


@dataclass(frozen=True)
class ExportRequest:
    """What is exported, how, and where the package goes."""

    source: str
    """The folder of a run, or a model: a hub id, a directory, a .gguf file or package:NAME."""
    to: str
    """A folder that is not there yet, or is empty."""
    recipe: str | None = None
    """Data, variants, benchmark and gates of the export of a model (`recipes/export.yaml`); a run has its own."""
    variants: tuple[str, ...] = ()
    """Instead of those that the recipe names."""


@flow(name="export", flow_run_name=name_of_run, persist_result=False)
def export(
    source: str,
    to: str,
    recipe: str = "",
    variants: tuple[VariantName, ...] = (),
    runs: str = "runs",
) -> dict[str, Any]:
    """Make, measure, judge and package the variants of a model that exists.

    Args:
        source: The folder of a run, or a model: a hub id, a directory, a .gguf file or package:NAME.
        to: Where the package goes: a folder that is not there yet, or is empty.
        recipe: Path of a recipe for the export of a model; empty for recipes/export.yaml. A run has its own.
        variants: Forms to make. Empty: those of the recipe. torch-fp32 is always made, to compare with.
        runs: Folder on the worker's machine that holds all that runs make, the store included.
    """
    return attended(lambda: _in_flow(ExportRequest(source, to, recipe or None, variants), Path(runs)))


def _in_flow(request: ExportRequest, runs: Path) -> Outcome:
    asked = checked(partial(check_export, request, runs))
    return outcome_of(run_export(asked, request, through_prefect))


def check_export(request: ExportRequest, runs: Path) -> Asked:
    """Refuse what cannot be exported, and find what is.

    Raises:
        InputError: If the request or what it names is wrong.
    """
    target = Path(request.to).resolve()
    if not (target / MANIFEST).is_file():
        _refuse_target(target)
        return _find(request, runs)
    # Perhaps this very package, which an attempt of before put there.
    asked = _find(request, runs)
    planned = asked.planned().package
    if planned is None or not _holds(target, asked.store.folder(planned)):
        _refuse_target(target)
    return asked


def _find(request: ExportRequest, runs: Path) -> Asked:
    source = Path(request.source)
    if is_run(source):
        if request.recipe is not None:
            raise InputError(f"--recipe {request.recipe} is for a model: the run in {source} has its own; leave it out")
        run = open_finished_run(source)
        # The run's own store, wherever `runs` is: what it made lies there.
        store = Store(run.runs / "store")
        recipe = _asked(run.recipe, request.variants)
        check_run_again(recipe, run.compute, store.folder(run.found["student"]), store)
        settings = SettingsOfDelivery(recipe, run.compute, (), run.probe)
        return Asked(partial(order_of_run, settings, run.found), recipe.name, store)
    store = Store(runs.resolve() / "store")
    recipe_path = RECIPE if request.recipe is None else Path(request.recipe)
    model = str(source.resolve()) if source.exists() else request.source
    told = _asked(load_export_recipe(recipe_path, {"model": model}), request.variants)
    return Asked(partial(order_of_model, prepare_export(told, recipe_path.resolve().parent, store)), told.name, store)


def run_export(asked: Asked, request: ExportRequest, call: Call) -> RunFolder:
    """Export what `check_export` found good, to the package's folder; `call` is the way to run a stage.

    Raises:
        InputError: If something came to lie where the package goes.
    """
    folder = carry_out(asked, call)
    if folder.verdict == "passed":
        _hand_over(folder.path / "package", Path(request.to).resolve())
    return folder


def _hand_over(package: Path, target: Path) -> None:
    """Give the package its place whole or not at all.

    Raises:
        InputError: If something came to lie there while the package was made.
    """
    if _holds(target, package):
        # An earlier attempt of this run came so far.
        return
    unfinished = target.with_name(f"{target.name}.unfinished-{secrets.token_hex(4)}")
    try:
        link_tree(package, unfinished)
        unfinished.rename(target)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InputError(f"{target} cannot be written ({error.strerror}); the package lies in {package}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _holds(target: Path, package: Path) -> bool:
    """Whether a folder holds this very package, and every file of it as the manifest says."""
    found, own = target / MANIFEST, package / MANIFEST
    same = found.is_file() and own.is_file() and found.read_bytes() == own.read_bytes()
    return same and not find_damage(target, read_manifest(target))


def order_of_run(settings: SettingsOfDelivery, found: Mapping[str, Reference], work: Work) -> Made:
    """The order of work for a run's student; its models and data are in the store, whatever code made them."""
    models = {name: found[name] for name in ("teacher", "pruned", "student") if name in found}
    return deliver(settings, work, {**found, **score_models(settings, work, models, found)})


def order_of_model(settings: SettingsOfExport, work: Work) -> Made:
    """The order of work for a model that is nobody's student here: it is fetched, and scored alone."""
    model = work.make(load_student, settings.model, {})
    data = prepare_data(settings, work, model)
    check_evidence(settings, work, data["dataset"])
    scores = score_models(settings, work, {"student": model}, data)
    return deliver(settings, work, {"student": model, **data, **scores})


def _asked(recipe: Kind, variants: Sequence[str]) -> Kind:
    """The recipe with other variants, and without the gates on variants that are not made now."""
    if not variants:
        return recipe
    content = recipe.model_dump(mode="json")
    content["export"]["variants"] = list(variants)
    kept = gates_on(content["gates"], tuple(variants))
    left = [gate for gate in content["gates"] if gate not in kept]
    if left:
        names = ", ".join(gate["figure"] for gate in left)
        with progress.of_stage("export"):
            progress.step(f"gates on variants that are not made now are left out: {names}")
    return validated(type(recipe), content | {"gates": kept}, "--variants")


def _refuse_target(target: Path) -> None:
    above = next(parent for parent in target.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{target} cannot be written: {above} is no folder, or not yours to write in")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InputError(f"{target} is there already and not empty: give --to a new folder, so that nothing is lost")
