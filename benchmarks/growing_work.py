"""What a distillation costs as its text grows: time, memory and bytes on disk of tokens x1, x2, x4 and x8.

Each size is captured and trained in a store of its own, so nothing is taken from a smaller one; the figures are those
that the manifests hold. Run it while nothing else runs.

    python -m benchmarks.growing_work benchmarks/starts.yaml --out docs/benchmarks/growing_work.json
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.figures import write_study
from flows.delivery import prepare_data
from flows.knowledge import gather_knowledge
from flows.preflight import prepare
from flows.route import make_start
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.recipe import load_recipe
from stillhouse.recipe.knowledge import Cached, Online
from stillhouse.recipe.recipe import Recipe
from stillhouse.store.artifact import Manifest, read_manifest
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher

FACTORS = (1, 2, 4, 8)
KINDS = {"online": Online(), "cached": Cached()}


def main() -> None:
    """Distil each size, with the teacher online and cached, and write what was found after each."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    found: dict[str, Any] = {"runs": []}
    for factor in FACTORS:
        for kind in KINDS:
            row, settings = _distil(recipe, kind, factor * options.train_tokens, options)
            found["runs"].append({"factor": factor, "knowledge": kind} | row)
            write_study(options.out, settings, found, page)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="whose teacher, data and training are taken")
    parser.add_argument("--runs", type=Path, default=Path("runs/growing_work"), help="for stores of its own")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    parser.add_argument("--train-tokens", type=int, default=10_000, help="of the smallest size (default: 10,000)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _distil(recipe: Recipe, kind: str, tokens: int, options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    data = recipe.data.model_copy(update={"train_tokens": tokens})
    training = recipe.distillation.model_copy(update={"temperature": 1.0, "checkpoint_every": 10**6})
    told = recipe.model_copy(update={"data": data, "distillation": training, "knowledge": KINDS[kind]})
    root = options.runs.resolve() / f"{kind}-{tokens}"
    shutil.rmtree(root, ignore_errors=True)
    store = Store(root / "store")
    with terminal.shown():
        settings = prepare(told, options.recipe.resolve().parent, store)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        dataset = prepare_data(settings, work, teacher)["dataset"]
        read = {"teacher": teacher, "dataset": dataset}
        start = make_start(settings, work, read)
        knowledge = gather_knowledge(settings, work, teacher, dataset)
        student = work.make(distill, settings.distill, {"start": start, **read, **knowledge})
    trained = read_manifest(store.folder(student))
    captures = _captures(store)
    row = {
        "tokens": tokens,
        "counted_tokens": trained.facts["tokens"],
        "steps": trained.facts["steps"],
        "capture_seconds": sum(each.seconds for each in captures),
        "capture_peak_memory_bytes": max((each.peak_memory_bytes for each in captures), default=0),
        "distill_seconds": trained.seconds,
        "distill_peak_memory_bytes": trained.peak_memory_bytes,
        "cache_bytes": _bytes(store.folder(knowledge["cache"])) if knowledge else 0,
        "store_bytes": _bytes(store.root),
    }
    shutil.rmtree(root)
    return row, settings


def _captures(store: Store) -> list[Manifest]:
    manifests = (read_manifest(path.parent) for path in store.root.rglob("manifest.json"))
    return [each for each in manifests if each.kind == "capture_shard"]


def _bytes(folder: Path) -> int:
    """Bytes on disk, a file with several names counted once."""
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    heads = (
        "| teacher | tokens | steps | capture, s | distil, s | counted tokens/s | peak, MiB | cache, MiB | store, MiB |"
    )
    lines = [heads, "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for run in sorted(found["runs"], key=lambda run: (run["knowledge"], run["factor"])):
        peak = max(run["capture_peak_memory_bytes"], run["distill_peak_memory_bytes"]) / 2**20
        speed = run["counted_tokens"] / run["distill_seconds"]
        cells = [run["knowledge"], f"{run['tokens']:,}", f"{run['steps']:,}", f"{run['capture_seconds']:.0f}"]
        cells += [f"{run['distill_seconds']:.0f}", f"{speed:.0f}", f"{peak:,.0f}"]
        cells += [f"{run[name] / 2**20:,.1f}" for name in ("cache_bytes", "store_bytes")]
        lines.append(f"| {' | '.join(cells)} |")
    return f"""# Cost as the text grows: {found["recipe"]["name"]}

Each size in a fresh store, one run each, {found["compute"]["precision"]} on {found["environment"]["processor"]},
threads: {found["compute"]["threads"]}. Distilling includes start-up and validation. The store also holds
the teacher, the start and the student.

{chr(10).join(lines)}

Made by `python -m benchmarks.growing_work`.
"""


if __name__ == "__main__":
    main()
