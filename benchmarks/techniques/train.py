"""Train and measure one row of the table of techniques, in this process.

python -m benchmarks.techniques.train "plain KL" --seed 0
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import SPLITS, documents_of
from benchmarks.techniques.equal_time import changes_in_equal_time
from benchmarks.techniques.record import Record, View, key_of, read_row, write
from benchmarks.techniques.rows import ROWS, STARTS, changes_of, merged
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
Ordered = tuple[dict[str, Reference], Reference, tuple[Reference, ...]]
"""Teacher and data, the student, and the artifacts that are a row's own."""


def main() -> None:
    """Do one row and seed, unless its record is there and has the key that it would have now."""
    options = _parser().parse_args()
    store = Store(options.runs.resolve() / "store")
    seed = None if options.row in STARTS else options.seed
    with terminal.shown():
        tokens = options.view == "tokens"
        changes = changes_of(options.row) if tokens else changes_in_equal_time(options.row, options.base, options.out)
        settings, base = (settings_of(each, options.base, options.threads, store) for each in (changes, {}))
        planned = order(settings, base, seed, Work(Planner(store.root), directly))[1]
        if key_of(options.out, options.row, options.view, seed) == planned.key:
            return
        here = environment_of(settings)["processor"]
        alike = (each for each in read_row(options.out, options.row) if each.key == planned.key)
        twin = next((each for each in alike if each.environment["processor"] == here), None)
        if twin is not None:
            # As fast as plain KL: the same training in both views, where both are of one machine.
            write(options.out, replace(twin, view=options.view))
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
    cut_by = prepare_data(in_fp32(base), work, teacher)["dataset"]
    make_start(base, work, {"teacher": teacher, "dataset": cut_by})
    shared = set(work.artifacts)
    data = prepare_data(in_fp32(settings), work, teacher)
    read = {"teacher": teacher, "dataset": data["dataset"]}
    if seed is None:
        return read, make_start(settings, work, {"teacher": teacher, "dataset": cut_by}), ()
    taught = teach(settings, work, read, seed=seed, cut_by=cut_by)
    own = [each for each in work.artifacts if each.kind not in _SHARED and each not in shared]
    return read, taught.student, tuple(own)


def in_fp32(settings: SettingsOfStages) -> SettingsOfStages:
    """With stages in fp32, whose answers are one text on every processor."""
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
    cost = cost_of([read_manifest(work.store.folder(each)) for each in own])
    return Record(*named, student.key, changes, figures, documents, cost, environment_of(settings))


def environment_of(settings: SettingsOfStages) -> dict[str, Any]:
    """Where something is trained, and by which code."""
    return {
        "processor": device_name(settings.compute.device),
        "threads": settings.compute.threads,
        "precision": settings.compute.precision,
        **code_version(),
    }


def cost_of(made: list[Manifest]) -> dict[str, float]:
    """What the artifacts that are a row's own took."""
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
