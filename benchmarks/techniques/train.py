"""Train and measure one row of the table of techniques, in this process.

python -m benchmarks.techniques.train "plain KL" --seed 0
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import SPLITS, documents_of
from benchmarks.techniques.record import Record, View, key_of, path_of, write
from benchmarks.techniques.rows import PLAIN_KL, ROWS, STARTS
from flows.delivery import prepare_data
from flows.environment import code_version, device_name
from flows.preflight import prepare
from flows.route import make_start, teach
from flows.settings import SettingsOfStages
from flows.work import Planner, Work, directly
from stillhouse import terminal
from stillhouse.recipe.recipe import Recipe, validated
from stillhouse.store.artifact import Manifest, Reference, read_manifest
from stillhouse.store.store import Store
from tasks.fetch import load_teacher
from tasks.score_held_out import measure_held_out

BASE = Path(__file__).parent / "base.yaml"
OUT = Path("docs/benchmarks/techniques")
_SHARED = ("load_teacher", "gather_documents", "measure_contamination", "answer_prompts", "encode_documents")
"""Stages that every row needs."""
_SCALED = ("steps", "train_tokens")
"""What grows with the time that a training may take."""
Ordered = tuple[dict[str, Reference], Reference, tuple[Reference, ...]]
"""Teacher and data, the student, and the artifacts that are a row's own."""
_LEAST = 0.1
"""Of a row's training, where all that comes before it takes plain KL's time already."""
_AS_FAST = 0.05
"""A row within this share of plain KL's time is as fast as it, since one training is timed no better than that."""


def main() -> None:
    """Do one row and seed, unless its record is there and has the key that it would have now."""
    options = _parser().parse_args()
    store = Store(options.runs.resolve() / "store")
    seed = None if options.row in STARTS else options.seed
    with terminal.shown():
        changes = changes_of(options.row, options.view, seed, options.base, options.out)
        settings, base = (settings_of(each, options.base, options.threads, store) for each in (changes, {}))
        planned = order(settings, base, seed, Work(Planner(store.root), directly))[1]
        if key_of(options.out, options.row, options.view, seed) == planned.key:
            return
        work = Work(store, directly)
        made = order(settings, base, seed, work)
        write(options.out, _record((options.row, options.view, seed), changes, settings, work, made))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=(*STARTS, *ROWS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--view", choices=("tokens", "time"), default="tokens")
    parser.add_argument("--base", type=Path, default=BASE, help="the recipe under every row")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def changes_of(row: str, view: View, seed: int | None, base: Path, out: Path) -> dict[str, Any]:
    """What a row lays over the base.

    In the view of equal time it has as much data and as many steps as plain KL's time allows, at the speed that the
    row's own record in the view of equal tokens tells. One that is as fast as plain KL, as far as one training can
    tell, has what it had there, and is not trained again.

    Raises:
        ValueError: If a record that tells the speed is not there, or tells that of another processor than plain KL's.
    """
    changes = STARTS[row] if row in STARTS else ROWS[row].changes
    if view == "tokens":
        return changes
    (plain, plain_on), (own, own_on) = (_cost_of(out, name, seed) for name in (PLAIN_KL, row))
    if plain_on != own_on:
        raise ValueError(
            f"{row}, seed {seed}, was timed on {own_on} and {PLAIN_KL} on {plain_on}, so their seconds are no ratio; "
            "delete the record that is not of this machine and do it again"
        )
    if abs(plain["seconds"] / own["seconds"] - 1) <= _AS_FAST:
        return changes
    # What comes before the training, as sampling or a cut between, takes what it takes.
    left = plain["seconds"] - (own["seconds"] - own["training_seconds"])
    content = yaml.safe_load(base.read_text(encoding="utf-8"))
    data = {"data": {"train_tokens": content["data"]["train_tokens"]}}
    return scaled(merged(data, changes), max(left / own["training_seconds"], _LEAST))


def _cost_of(out: Path, row: str, seed: int | None) -> tuple[dict[str, float], str]:
    """What a row's training of equal tokens took, and on which processor."""
    if not key_of(out, row, "tokens", seed):
        raise ValueError(f"{row}, seed {seed}, has no record of equal tokens, which tells its speed; do it first")
    record = json.loads(path_of(out, row, "tokens", seed).read_text(encoding="utf-8"))
    return record["cost"], record["environment"]["processor"]


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; mappings inside are merged, unless they are of another `kind`."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        same = isinstance(below, dict) and isinstance(value, dict)
        if same and value.get("kind", below.get("kind")) == below.get("kind"):
            found[key] = merged(below, value)
        else:
            found[key] = value
    return found


def scaled(content: Any, factor: float) -> Any:
    """Multiply every number of steps or training tokens, however deep it lies."""
    match content:
        case dict():
            return {
                key: max(1, round(value * factor))
                if key in _SCALED and isinstance(value, int)
                else scaled(value, factor)
                for key, value in content.items()
            }
        case list() | tuple():
            return [scaled(each, factor) for each in content]
        case _:
            return content


def settings_of(changes: dict[str, Any], base: Path, threads: int, store: Store) -> SettingsOfStages:
    """The base recipe with the changes, checked."""
    content = merged(yaml.safe_load(base.read_text(encoding="utf-8")), changes) | {"threads": threads}
    return prepare(validated(Recipe, content, str(base)), base.parent, store)


def order(settings: SettingsOfStages, base: SettingsOfStages, seed: int | None, work: Work) -> Ordered:
    """Teacher and data, the student, and the artifacts that are this row's own; the seed is that of training alone.

    Whatever a row's own data are, its students are cut by the base's. What the base needs before it is trained is no
    row's own. The table may be filled on several machines: answers are written in fp32, so that all train on one text.
    """
    teacher = work.make(load_teacher, settings.teacher, {})
    cut_by = prepare_data(_in_fp32(base), work, teacher)["dataset"]
    make_start(base, work, {"teacher": teacher, "dataset": cut_by})
    shared = set(work.artifacts)
    data = prepare_data(_in_fp32(settings), work, teacher)
    read = {"teacher": teacher, "dataset": data["dataset"]}
    if seed is None:
        return read, make_start(settings, work, {"teacher": teacher, "dataset": cut_by}), ()
    taught = teach(settings, work, read, seed=seed, cut_by=cut_by)
    own = [each for each in work.artifacts if each.kind not in _SHARED and each not in shared]
    return read, taught.student, tuple(own)


def _in_fp32(settings: SettingsOfStages) -> SettingsOfStages:
    return replace(settings, compute=settings.compute.model_copy(update={"precision": "fp32"}))


def _record(
    named: tuple[str, View, int | None],
    changes: dict[str, Any],
    settings: SettingsOfStages,
    work: Work,
    ordered: Ordered,
) -> Record:
    """Measure what `order` made for a row, view and seed."""
    read, student, own = ordered
    figures = {}
    for split in SPLITS:
        asked = settings.held_out.model_copy(update={"split": split})
        measured = work.make(measure_held_out, asked, {"model": student, **read})
        figures[split] = work.facts(measured)
    documents = documents_of(settings, work, student, read)
    made = [read_manifest(work.store.folder(each)) for each in own]
    environment = {
        "processor": device_name(settings.compute.device),
        "threads": settings.compute.threads,
        "precision": settings.compute.precision,
        **code_version(),
    }
    return Record(*named, student.key, changes, figures, documents, _cost(made), environment)


def _cost(made: list[Manifest]) -> dict[str, float]:
    trained = [manifest for manifest in made if manifest.kind == "distill"]
    return {
        "tokens": sum(manifest.facts["tokens"] for manifest in trained),
        "steps": sum(manifest.facts["steps"] for manifest in trained),
        "seconds": sum(manifest.seconds for manifest in made),
        "training_seconds": sum(manifest.seconds for manifest in trained),
        "peak_memory_bytes": max((manifest.peak_memory_bytes for manifest in made), default=0),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
