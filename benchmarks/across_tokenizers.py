"""A teacher with other tokens: does a student learn more from it and the text than from the text alone?

From one start, on one set of training tokens, the student of a recipe with a tokenizer of its own is trained once for
each weight of the teacher (`alpha`; 0 is the text alone, the teacher's answers among it) and each seed, which decides
the order of the data. Everything runs through the store, so a killed study goes on and a repeated one is free.

    python -m benchmarks.across_tokenizers recipes/techniques/cross-tokenizer.yaml --out across.json
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import log
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.figures import difference, write_study
from evaluation.statistics import bootstrap_mean_interval
from flows.delivery import prepare_data
from flows.preflight import prepare
from flows.route import teach
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.errors import InputError
from stillhouse.recipe.recipe import Recipe, load_recipe, validated
from stillhouse.recipe.student import has_own_tokenizer
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store
from tasks.fetch import load_teacher
from tasks.score_held_out import measure_held_out

Documents = list[dict[str, Any]]
_COLUMNS = ("document", "bytes", "loss_nats")


def main() -> None:
    """Train with every seed and alpha, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    if not has_own_tokenizer(recipe.student):
        raise InputError(
            f"{options.recipe}: the student has its teacher's tokenizer; take benchmarks.control, "
            "or set student.tokenizer"
        )
    store, folder = Store(options.runs.resolve() / "store"), options.recipe.resolve().parent
    found: dict[str, Any] = {"models": []}
    with terminal.shown():
        asked = {alpha: prepare(_weighing(recipe, alpha), folder, store) for alpha in options.alphas}
        # What is read is the same for all of them.
        work, first = Work(store, directly), next(iter(asked.values()))
        teacher = work.make(load_teacher, first.teacher, {})
        data = prepare_data(first, work, teacher)
        read = {name: data[name] for name in ("dataset", "tokenizer", "dataset_teacher")}
        for seed, (alpha, settings) in product(options.seeds, asked.items()):
            taught = teach(settings, work, {"teacher": teacher, **read}, seed=seed)
            if not found["models"]:
                found["models"].append({"model": "teacher"} | _text(settings, work, teacher, data["dataset_teacher"]))
                found["models"].append({"model": "start"} | _text(settings, work, taught.start, data["dataset"]))
            made = read_manifest(store.folder(taught.student))
            row = {"model": "student", "alpha": alpha, "seed": seed, "seconds": made.seconds}
            row |= {"peak_memory_bytes": made.peak_memory_bytes, "tokens": made.facts["tokens"]}
            found["models"].append(row | _text(settings, work, taught.student, data["dataset"]))
            # The recipe as it was given, whatever alpha came last.
            write_study(options.out, replace(settings, recipe=recipe), found, page)


def _weighing(recipe: Recipe, alpha: float) -> Recipe:
    content = recipe.model_dump(mode="json", exclude_none=True)
    asked = content["distillation"] | {"alpha": alpha}
    if alpha == 0:
        # Of the text alone there is no loss to another tokenizer.
        del asked["loss"]
    return validated(Recipe, content | {"distillation": asked}, f"alpha {alpha:g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose teacher, data, student and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.0, 0.3], help="weights of the teacher")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _text(settings: SettingsOfStages, work: Work, model: Reference, dataset: Reference) -> dict[str, Any]:
    """Held-out text as a model reads it in its own tokens."""
    read = {"model": model, "teacher": model, "dataset": dataset}
    measured = work.make(measure_held_out, settings.held_out, read)
    content = json.loads((work.store.folder(measured) / "held_out.json").read_text(encoding="utf-8"))
    documents = [{name: document[name] for name in _COLUMNS} for document in content["documents"]]
    return {"bits_per_byte": work.facts(measured)["bits_per_byte"], "documents": documents}


def apart(one: Documents, other: Documents) -> tuple[float, tuple[float, float] | None]:
    """Bits per byte of one model less those of the other on the same documents, with the 95% interval over these.

    Raises:
        ValueError: If the documents differ, in their names or in how many bytes of them were read.
    """
    if [each["document"] for each in one] != [each["document"] for each in other]:
        raise ValueError("the models read different documents; measure both again")
    read = np.array([each["bytes"] for each in one])
    if not np.array_equal(read, [each["bytes"] for each in other]):
        raise ValueError("the models read different parts of the documents; measure both again")
    bits = np.array([(a["loss_nats"] - b["loss_nats"]) / log(2) for a, b in zip(one, other, strict=True)])
    return float(bits.sum() / read.sum()), bootstrap_mean_interval(bits, read, seed=0)


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    recipe, compute, models = found["recipe"], found["compute"], found["models"]
    first = next(model for model in models if model["model"] == "student")
    return f"""# A teacher with other tokens: {recipe["name"]}

One student with {recipe["student"]["tokenizer"]["vocabulary"]:,} tokens of its own, from random weights, on the same
{first["tokens"]:,.0f} counted training tokens; its teacher is {recipe["teacher"]["source"]}. `alpha` is the weight of
the teacher beside the text; 0 is the text alone, in which the teacher's answers to prompts are. Held-out bits per byte,
each model in its own tokens, over {len(first["documents"])} documents: all that can be compared between two tokenizers.
Less alpha 0: at the same seed, with the 95% interval over documents.

{chr(10).join(_table(models))}

{compute["precision"]} on {found["environment"]["processor"]}, threads: {compute["threads"]}. Minutes are of training,
whatever else the machine did at the time. Made by `python -m benchmarks.across_tokenizers`.
"""


def _table(models: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| model | seed | bits per byte | less alpha 0 | minutes | peak memory |"
    yield "|---|--:|--:|--:|--:|--:|"
    students = [model for model in models if model["model"] == "student"]
    for model in models:
        if model["model"] != "student":
            yield f"| {model['model']} | | {model['bits_per_byte']:.3f} | | | |"
    alone = {model["seed"]: model["documents"] for model in students if model["alpha"] == 0}
    for alpha in dict.fromkeys(model["alpha"] for model in students):
        rows = sorted((model for model in students if model["alpha"] == alpha), key=lambda model: model["seed"])
        for row in rows:
            told = difference(*apart(row["documents"], alone[row["seed"]])) if alpha and row["seed"] in alone else ""
            cost = f"{row['seconds'] / 60:.1f} | {row['peak_memory_bytes'] / 1e9:.1f} GB"
            yield f"| alpha {alpha:g} | {row['seed']} | {row['bits_per_byte']:.3f} | {told} | {cost} |"
        yield f"| **alpha {alpha:g}** | mean of {len(rows)} | {mean(row['bits_per_byte'] for row in rows):.3f} | | | |"


if __name__ == "__main__":
    main()
