"""The control of a recipe: is the teacher worth its cost, or would the text alone have done as well?

From one start, on one set of training tokens, the student is trained with plain cross-entropy and with distillation,
once a seed (the seed decides the order of the data). What is chosen, is chosen by validation text; held-out text is
only reported, each arm beside cross-entropy document by document too. Everything runs through the store, so a killed
control goes on and a repeated one is free.

    python -m benchmarks.control recipes/demo.yaml --runs runs --out docs/demo/control.json
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, SPLITS, cells, difference, documents_of, measure, write_study
from benchmarks.techniques.paired import Documents, differences
from evaluation.statistics import FEWEST_UNITS
from flows.delivery import prepare_data
from flows.preflight import prepare
from flows.route import make_start
from flows.settings import SettingsOfStages
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.recipe import load_recipe
from stillhouse.store.artifact import read_manifest
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher

PLAIN = "cross-entropy"
LESS_PLAIN = "held_out_less_cross_entropy"
ARMS: dict[str, dict[str, float]] = {
    PLAIN: {"alpha": 0.0},
    # As the recipe says.
    "distillation": {},
    "teacher only": {"alpha": 1.0, "temperature": 1.0},
}


def main() -> None:
    """Train every arm with every seed, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        settings = prepare(recipe, options.recipe.resolve().parent, store)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
        start = make_start(settings, work, read)
        found: dict[str, Any] = {"start": measure(settings, work, start, read), "runs": _earlier(options.out)}
        texts: dict[tuple[str, int], Documents] = {}
        for seed, arm in product(options.seeds, sorted(options.arms, key=lambda arm: arm != PLAIN)):
            changed = settings.recipe.distillation.model_copy(update=ARMS[arm] | _rate(options.learning_rate))
            student = work.make(distill, _distill(settings, changed, seed), {"start": start, **read})
            row = {"arm": arm, "seed": seed, **changed.model_dump(include={"alpha", "temperature", "learning_rate"})}
            found["runs"] = [one for one in found["runs"] if one | row != one]
            made = read_manifest(store.folder(student))
            cost = {"seconds": made.seconds, "peak_memory_bytes": made.peak_memory_bytes, **made.facts}
            texts[arm, seed] = documents_of(settings, work, student, read)
            beside = _beside(texts[arm, seed], texts.get((PLAIN, seed)))
            found["runs"].append(row | cost | measure(settings, work, student, read) | beside)
            write_study(options.out, settings, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose start, data and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[PLAIN, "distillation"])
    parser.add_argument("--learning-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every stage (default: 1)")
    return parser


def _earlier(out: Path) -> list[dict[str, Any]]:
    """Rows of earlier calls, which stay: a study grows by arms, seeds and rates."""
    rows: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["runs"] if out.is_file() else []
    return rows


def _rate(learning_rate: float | None) -> dict[str, float]:
    return {} if learning_rate is None else {"learning_rate": learning_rate}


def _beside(row: Documents, plain: Documents | None) -> dict[str, Any]:
    """The held-out figures less those of cross-entropy at the same seed, with intervals over documents that both read.

    What makes a document hard for both cancels there, which it does not where two intervals are laid side by side.
    """
    if plain is None or plain is row or len(row) < FEWEST_UNITS:
        return {}
    found = differences(row, plain)
    return {LESS_PLAIN: {name: {"value": found[name][0], "interval": found[name][1]} for name in FIGURES}}


def _distill(settings: SettingsOfStages, changed: Any, seed: int) -> Any:
    compute = settings.compute.model_copy(update={"seed": seed})
    return settings.distill.model_copy(update={"distillation": changed, "compute": compute})


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    recipe, compute, run = found["recipe"], found["compute"], found["runs"][0]
    return f"""# Plain cross-entropy beside distillation: {recipe["name"]}

From one start ({run["parameters"]:,} parameters), on the same {run["tokens"]:,.0f} counted training tokens in
{run["steps"]} steps, the student learns from the text alone (alpha 0), from text and teacher, or from the teacher alone
(alpha 1). The seed decides the order of the data and nothing else. Loss above: nats per token above the teacher's. KL:
to the teacher, nats per token. top-1: share of positions with the teacher's most likely token.
Validation is {run["validation"]["tokens"]:,} tokens in {run["validation"]["documents"]} documents, held-out
{run["held_out"]["tokens"]:,} in {run["held_out"]["documents"]}. What the recipe says is chosen on validation; held-out
text is only reported.

{chr(10).join(_table(found))}
{chr(10).join(_paired(found["runs"]))}
{compute["precision"]} on {found["environment"]["processor"]}, threads: {compute["threads"]}. Minutes are of training,
whatever else the machine did at the time. Made by `python -m benchmarks.control`; every figure with its interval over
documents is in the JSON file beside this page.
"""


def _table(found: dict[str, Any]) -> Iterator[str]:
    """Every seed, and each arm's mean, as a Markdown table."""
    heads = [f"{split.replace('_', '-')}: {what}" for split in SPLITS for what in ("loss above", "KL", "top-1")]
    yield f"| arm | seed | {' | '.join(heads)} | minutes |"
    yield "|---|--:|" + "--:|" * (len(heads) + 1)
    yield f"| start | | {' | '.join(cells([found['start']]))} | |"
    for told in dict.fromkeys(map(_told, found["runs"])):
        rows = sorted((row for row in found["runs"] if _told(row) == told), key=lambda row: row["seed"])
        for row in rows:
            yield f"| {told} | {row['seed']} | {' | '.join(cells([row]))} | {row['seconds'] / 60:.1f} |"
        yield f"| **{told}** | mean of {len(rows)} | {' | '.join(cells(rows))} | |"


def _paired(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What each arm differs from cross-entropy by, seed by seed; nothing where no document is at hand."""
    told = [row for row in rows if LESS_PLAIN in row]
    if not told:
        return
    yield f"""
Held-out, less {PLAIN} at the same seed and rate, with the 95% interval over the documents that both read:

| arm | seed | loss above | KL | top-1, points |
|---|--:|--:|--:|--:|"""
    for row in sorted(told, key=lambda row: (_told(row), row["seed"])):
        shown = " | ".join(_less_plain(row, name) for name in FIGURES)
        yield f"| {_told(row)} | {row['seed']} | {shown} |"
    yield ""


def _less_plain(row: Mapping[str, Any], figure: str) -> str:
    found = row[LESS_PLAIN][figure]
    digits, scale = (1, 100) if figure.startswith("top1") else (3, 1)
    return difference(found["value"], found["interval"], digits=digits, scale=scale)


def _told(row: Mapping[str, Any]) -> str:
    softened = f", T {_number(row['temperature'])}" if row["alpha"] else ""
    return f"{row['arm']}: alpha {_number(row['alpha'])}{softened}, rate {row['learning_rate']:g}"


def _number(value: float | Mapping[str, Any]) -> str:
    """A coefficient, or from where to where it moves."""
    return f"{value['start']:g} to {value['end']:g}" if isinstance(value, Mapping) else f"{value:g}"


if __name__ == "__main__":
    main()
