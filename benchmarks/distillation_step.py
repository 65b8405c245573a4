"""A distillation step beside TRL's GKD trainer and a plain loop: the same models, rows, optimizer and precision.

Every measurement is a process of its own: steps to warm up, then steps that are timed one by one. The arms take turns
within a round. Rows are texts of one length without padding, all of whose tokens are counted, so that every arm does
the same work. Memory is the highest of the timed steps, less libraries, weights, gradients and optimizer: what is left
are activations and the loss. Run it while nothing else runs; TRL comes with `pip install -e '.[bench]'`.

    python -m benchmarks.distillation_step --out docs/benchmarks/distillation_step.json
    python -m benchmarks.distillation_step --rows 16 --out docs/benchmarks/distillation_step_16.json
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.steps import pages
from flows.delivery import prepare_data
from flows.environment import code_version, environment
from flows.preflight import prepare
from flows.route import make_start
from flows.work import Work, directly
from stillhouse import child, machine, progress, terminal
from stillhouse.data.dataset import Split, read_split, write_split
from stillhouse.recipe import load_recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.store import Store
from stillhouse.teachers.cache.assemble import assemble_cache, shard_input
from stillhouse.teachers.cache.capture import capture_shard
from stillhouse.teachers.cache.listing import list_samples
from stillhouse.teachers.cache.plan import plan_capture
from tasks.fetch import load_teacher

ARMS = {
    "trl": "TRL GKDTrainer, off-policy, forward KL",
    "plain": "plain loop, full logits",
    "online eager": "Stillhouse, teacher online, not compiled",
    "online": "Stillhouse, teacher online",
    "cached eager": "Stillhouse, 50 draws cached, not compiled",
    "cached": "Stillhouse, 50 draws cached",
    "text": "Stillhouse, cross-entropy, same head",
    "plain text": "plain loop, cross-entropy",
}
ROOF = "roof"


def main() -> None:
    """Measure every arm in turns, and write what was found after each."""
    options = _parser().parse_args()
    made = _prepare(options)
    found: list[dict[str, Any]] = []
    turns = [(number, arm) for number in range(options.repeats) for arm in (*options.arms, ROOF)]
    with terminal.shown(), machine.measuring_alone():
        for number, (turn, arm) in enumerate(turns):
            progress.step(f"{arm}, round {turn + 1}", number, len(turns), {})
            case = made | {"arm": arm, "threads": options.threads, "rows": options.rows, "length": options.length}
            case |= {"device": options.device, "warm_up": options.warm_up, "steps": options.steps}
            function = "benchmarks.steps.roof:measure" if arm == ROOF else "benchmarks.steps.measure:measure"
            found.append({"arm": arm, "round": turn} | child.run(function, case, threads=options.threads))
            _write(options, found)
    print(pages.page(json.loads(options.out.read_text(encoding="utf-8")), ARMS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a page is written beside it")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.yaml"), help="whose teacher, text and start")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rows", type=int, default=4, help="in a forward pass (default: 4)")
    parser.add_argument("--length", type=int, default=256, help="tokens in a row (default: 256)")
    parser.add_argument("--repeats", type=int, default=5, help="processes for each arm (default: 5)")
    parser.add_argument("--warm-up", type=int, default=3, help="steps that are not timed (default: 3)")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed (default: 8)")
    parser.add_argument("--threads", type=int, default=machine.usable_cores())
    parser.add_argument("--device", default="cpu", help="a torch device (default: cpu)")
    parser.add_argument("--peak-teraflops", type=float, help="of the device in bf16; adds model FLOP utilisation")
    return parser


def _prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Teacher and start from the store, rows of one length, and the cache of a teacher that read them."""
    recipe = load_recipe(options.recipe).model_copy(update={"threads": options.threads})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        settings = prepare(recipe, options.recipe.resolve().parent, store)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
        start = make_start(settings, work, read)
        folder = options.runs.resolve() / "distillation_step"
        shutil.rmtree(folder, ignore_errors=True)
        dataset = folder / "dataset"
        _write_rows(dataset, read_split(store.folder(read["dataset"]), "train"), options)
        cache = _capture(folder, store.folder(teacher), dataset, options)
    return {
        "teacher": str(store.folder(teacher)),
        "start": str(store.folder(start)),
        "dataset": str(dataset),
        "cache": str(cache),
    }


def _write_rows(folder: Path, text: Split, options: argparse.Namespace) -> None:
    """Cut the training text into rows; where one text ends within a row does not change the work."""
    length, number = options.length, options.rows * (options.warm_up + options.steps)
    ids = np.resize(text.ids, number * length)
    # A row that occurs twice would be one sample of the cache, which reads it as often.
    counted = np.ones((number, length), dtype=bool)
    counted[:, 0] = False
    names = tuple(f"row/{row}" for row in range(number))
    split = Split(ids, counted.ravel(), np.arange(number + 1) * length, np.full(number, length), names)
    for name in ("train", "validation"):
        write_split(folder, name, split)


CACHED = Cached()


def _capture(folder: Path, teacher: Path, dataset: Path, options: argparse.Namespace) -> Path:
    """The stages of a capture, one after another, in plain folders."""
    compute = Compute(device=options.device, precision="bf16", threads=options.threads, seed=0)
    tokens = read_split(dataset, "train").num_tokens
    plan = plan_capture(CACHED, compute=compute, temperature=1.0, sequence_length=options.length, train_tokens=tokens)
    made = {name: folder / name for name in ("listing", "cache")}
    shards = {shard_input(each.shard): folder / shard_input(each.shard) for each in plan.shards}
    for path in (*made.values(), *shards.values()):
        path.mkdir(parents=True)
    list_samples(plan.listing, {"dataset": dataset}, made["listing"])
    for each in plan.shards:
        read = {"teacher": teacher, "dataset": dataset, "listing": made["listing"]}
        capture_shard(each, read, shards[shard_input(each.shard)])
    assemble_cache(plan.assemble, {"teacher": teacher, **shards}, made["cache"])
    return made["cache"]


def _write(options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    asked = ("rows", "length", "threads", "warm_up", "steps", "device", "peak_teraflops")
    settings = {name: getattr(options, name) for name in asked}
    content = {"settings": settings, "runs": found, "code": code_version(), "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(pages.page(content, ARMS), encoding="utf-8")


if __name__ == "__main__":
    main()
