"""Capturing a teacher's answers beside the teacher's bare forward pass over the same texts.

Both read the same packed rows, the bare pass with all logits of every row, as a model gives them; the capture makes its
logits in parts, draws from them and writes. Fresh processes take turns. Run it while nothing else runs.

    python -m benchmarks.capture_speed --out docs/benchmarks/capture_speed.json
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gauge import Gauge
from flows.delivery import prepare_data
from flows.environment import code_version, environment
from flows.preflight import prepare
from flows.work import Work, directly
from stillhouse import child, machine, progress, terminal
from stillhouse.data.dataset import read_split
from stillhouse.data.packing import pack
from stillhouse.models.load import load_model
from stillhouse.recipe import load_recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.store import Store
from stillhouse.teachers.cache.capture import capture_shard, loaded_teacher
from stillhouse.teachers.cache.listing import list_samples
from stillhouse.teachers.cache.plan import plan_capture
from stillhouse.training.batches import make_batch
from tasks.fetch import load_teacher

MARKS = {"fp32": 0.9, "bf16": 0.75}
"""How much of the bare pass's speed is asked for."""
ARMS = ("bare", "captured")


def main() -> None:
    """Measure both arms in both precisions, in turns."""
    options = _parser().parse_args()
    recipe = load_recipe(options.recipe)
    data = recipe.data.model_copy(update={"train_tokens": options.tokens})
    recipe = recipe.model_copy(update={"threads": options.threads, "data": data})
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        settings = prepare(recipe, options.recipe.resolve().parent, store)
        work = Work(store, directly)
        teacher = work.make(load_teacher, settings.teacher, {})
        dataset = prepare_data(settings, work, teacher)["dataset"]
    case = {"teacher": str(store.folder(teacher)), "dataset": str(store.folder(dataset)), "threads": options.threads}
    case |= {"length": recipe.data.sequence_length, "device": options.device}
    turns = [(arm, precision) for _ in range(options.repeats) for precision in MARKS for arm in ARMS]
    found: list[dict[str, Any]] = []
    with terminal.shown(), machine.measuring_alone():
        for number, (arm, precision) in enumerate(turns):
            progress.step(f"{arm}, {precision}", number, len(turns), {})
            told = case | {"arm": arm, "precision": precision}
            made = child.run("benchmarks.capture_speed:measure", told, threads=options.threads)
            found.append({"arm": arm, "precision": precision} | made)
    content = {"runs": found, "threads": options.threads, "code": code_version(), "environment": environment()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(content), encoding="utf-8")
    print(page(content))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a page is written beside it")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.yaml"), help="whose teacher and text")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the store (default: runs)")
    parser.add_argument("--tokens", type=int, default=12_000, help="of text that is read (default: 12,000)")
    parser.add_argument("--repeats", type=int, default=5, help="processes for each arm (default: 5)")
    parser.add_argument("--threads", type=int, default=machine.usable_cores())
    parser.add_argument("--device", default="cpu", help="a torch device (default: cpu)")
    return parser


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds and tokens of one pass over the text, with a teacher that is loaded and has read one row already."""
    torch.set_num_threads(case["threads"])
    compute = Compute(device=case["device"], precision=case["precision"], threads=case["threads"], seed=0)
    tokens = read_split(Path(case["dataset"]), "train").num_tokens
    seconds = _bare(case, compute) if case["arm"] == "bare" else _captured(case, compute, tokens)
    return {"seconds": seconds, "tokens": tokens}


def _bare(case: dict[str, Any], compute: Compute) -> float:
    device = case["device"]
    model = load_model(Path(case["teacher"]), device=device, dtype=compute.precision).eval()
    text, length = read_split(Path(case["dataset"]), "train"), case["length"]
    rows, size, gauge = pack(text.starts, length), Cached().batch_rows, Gauge(device)
    batches = [
        make_batch(text, rows[start : start + size], sequence_length=length, pad_id=0, device=device)
        for start in range(0, len(rows), size)
    ]
    with torch.no_grad():
        model(batches[0].input_ids[:1])
        started = gauge.seconds()
        for batch in batches:
            model(**batch.inputs_of(model), use_cache=False).logits  # noqa: B018
        return gauge.seconds() - started


def _captured(case: dict[str, Any], compute: Compute, tokens: int) -> float:
    length, gauge = case["length"], Gauge(case["device"])
    plan = plan_capture(Cached(), compute=compute, temperature=1.0, sequence_length=length, train_tokens=tokens)
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "listing"
        listing.mkdir()
        list_samples(plan.listing, {"dataset": Path(case["dataset"])}, listing)
        read = {name: Path(case[name]) for name in ("teacher", "dataset")} | {"listing": listing}
        # As the stage has it: the teacher stays loaded from one shard to the next.
        teacher = loaded_teacher(read["teacher"], plan.shards[0].compute, ())
        with torch.no_grad():
            teacher.model(torch.zeros(1, length, dtype=torch.long, device=case["device"]))
        total = 0.0
        for each in plan.shards:
            folder = Path(scratch) / f"shard-{each.shard}"
            folder.mkdir()
            started = gauge.seconds()
            capture_shard(each, read, folder)
            total += gauge.seconds() - started
    return total


def page(content: dict[str, Any]) -> str:
    """What was found as a page to read."""
    lines = ["| precision | bare, tokens/s | captured, tokens/s | ratio | asked | |", "|---|--:|--:|--:|--:|---|"]
    for precision, mark in MARKS.items():
        speeds = {arm: _speeds(content["runs"], arm, precision) for arm in ARMS}
        ratio = median(speeds["captured"]) / median(speeds["bare"])
        told = [f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})" for each in speeds.values()]
        verdict = "met" if ratio >= mark else "missed"
        lines.append(f"| {precision} | {told[0]} | {told[1]} | {ratio:.2f} | {mark:g} | {verdict} |")
    runs, environment = content["runs"], content["environment"]
    return f"""# Capturing beside the teacher's bare forward pass

{runs[0]["tokens"]:,} tokens, 50 draws a target, {content["threads"]} threads of {environment["processor"]}; median
(range) of {len(runs) // 4} fresh processes for each, in turns.

{chr(10).join(lines)}

Made by `python -m benchmarks.capture_speed`; every measurement is in the JSON file beside this page.
"""


def _speeds(runs: list[dict[str, Any]], arm: str, precision: str) -> list[float]:
    return [run["tokens"] / run["seconds"] for run in runs if (run["arm"], run["precision"]) == (arm, precision)]


if __name__ == "__main__":
    main()
