"""A run that is over, taken up again by what its folder says."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run_folder import REFERENCES, read_references
from stillhouse.errors import InputError
from stillhouse.recipe import ExportRecipe, Recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.recipe import validated
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store

RESULTS = "results.json"
_MODELS_AND_DATA = (
    "teacher",
    "pruned",
    "student",
    "documents",
    "contamination",
    "selected",
    "prompts",
    "answers",
    "sampled",
    "responses",
    "rationales",
    "tokenizer",
    "dataset",
    "dataset_teacher",
)
_OF_OTHER_TEACHERS = re.compile(r"(teacher|answering|prompts|answers|sampled|responses)_\d+")
"""The other teachers, and what those of them that answer prompts said."""


@dataclass(frozen=True)
class FinishedRun:
    """What a run decided and made."""

    recipe: Recipe | ExportRecipe
    compute: Compute
    probe: Reference
    found: dict[str, Reference]
    """Its models and data, by the names that `assemble_results` knows."""
    runs: Path
    """The folder that holds the run, and the store."""


def is_run(folder: Path) -> bool:
    """Say whether a folder is that of a run."""
    return (folder / REFERENCES).is_file()


def open_finished_run(folder: Path) -> FinishedRun:
    """Find what a run made, in the store that lies beside it.

    Raises:
        InputError: If the run did not finish, or the store lost what it made.
    """
    if not (folder / RESULTS).is_file():
        raise InputError(f"the run in {folder} did not finish: it has no {RESULTS}; run its recipe again first")
    try:
        lineage = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["lineage"]
        compute, recipe = Compute.model_validate(lineage["compute"]), _recipe(lineage["recipe"], folder)
        references = read_references(folder)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not what a run leaves ({error!r}); run its recipe again") from None
    runs = folder.resolve().parents[1]
    store = Store(runs / "store")
    kept = {reference.kind: reference for reference in references if store.has(reference)}
    if "assemble_results" not in kept or "probe_precision" not in kept:
        raise InputError(f"the store in {runs / 'store'} does not hold what the run in {folder} made; run it again")
    by_key = {reference.key: reference for reference in references}
    read = store.manifest(kept["assemble_results"]).inputs
    names = [name for name in read if name in _MODELS_AND_DATA or _OF_OTHER_TEACHERS.fullmatch(name)]
    found = {name: by_key[read[name]] for name in names if read[name] in by_key}
    lost = [name for name in names if not (name in found and store.has(found[name]))]
    if lost:
        raise InputError(f"the store lost {', '.join(lost)} of the run in {folder}; run its recipe again")
    return FinishedRun(recipe, compute, kept["probe_precision"], found, runs)


def _recipe(content: dict[str, Any], folder: Path) -> Recipe | ExportRecipe:
    origin = f"the recipe in {folder / RESULTS}"
    if "teacher" in content:
        return validated(Recipe, content, origin)
    return validated(ExportRecipe, content, origin)
