"""A sweep's training on a Dask cluster of two one-thread workers, against one such worker.

Teacher, data and start are made before, as they are for all entries of a sweep but the first. Each entry then trains
one student, in one thread, through the very path that `stillhouse sweep --runner dask` takes; the time is that of the
whole, cluster and processes started and ended. Both sizes take turns, each time with a store in which no student is.
Needs a Prefect server (`make ui` starts one) and two cores that have nothing else to do. What other processes took of
them meanwhile is told beside each time; where that was more than a little, the time is shown and does not count.
Repeats of earlier calls stay in the file.

    export PREFECT_API_URL=http://127.0.0.1:4200/api
    python -m benchmarks.sweep_on_dask --out docs/benchmarks/sweep_on_dask.json
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from evaluation.sweep.comparison import changed
from flows import server
from flows.delivery import prepare_data
from flows.environment import code_version, environment
from flows.preflight import prepare
from flows.route import make_start
from flows.settings import SettingsOfStages
from flows.side_by_side import Piece, Places, of_task_run, through_runner
from flows.work import Call, Work, directly, through_prefect
from stillhouse import terminal
from stillhouse.recipe import load_recipe
from stillhouse.recipe.changes import NO_CHANGES, Changes
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from tasks.distill import distill
from tasks.fetch import load_teacher

ENTRIES = tuple(Changes(temperature=temperature) for temperature in (1.0, 2.0, 3.0, 4.0))
AT_MOST = 0.6
"""Of the time of one worker, what two may take."""
QUIET_CORES = 0.25
"""What other processes may take of the cores, on average, for a time to count."""


def main() -> None:
    """Time every repeat, write what was found after each, and exit with 1 where two workers take too long."""
    options = _parser().parse_args()
    if not server.is_usable():
        sys.exit("a Prefect server is needed: start one (`make ui`) and set PREFECT_API_URL")
    # Here task runs belong to no flow run, and their logs need no server.
    os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
    rows = _earlier(options.out)
    first = 1 + max((row["repeat"] for row in rows), default=0)
    with tempfile.TemporaryDirectory() as folder, terminal.shown():
        made = Path(folder) / "made"
        _before_training(_settings(options.recipe, NO_CHANGES, options.steps, made), made, directly)
        for repeat in range(first, first + options.repeats):
            # Whichever goes first finds the machine as the one before left it, so they take turns in that too.
            for workers in (1, 2) if repeat % 2 == 0 else (2, 1):
                runs = Path(folder) / f"{repeat}-{workers}"
                shutil.copytree(made, runs)
                if options.when_quiet:
                    _wait_until_quiet()
                rows.append({"repeat": repeat} | _timed(workers, runs, options))
                shutil.rmtree(runs)
                found = {"steps": options.steps, "rows": rows} | ratios(rows) | _origin(options.recipe)
                _write(options.out, found)
    sys.exit(found["ratio"] is None or found["ratio"] > AT_MOST)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/tiny.yaml"), help="whose training is taken")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of each entry (default: 150)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--when-quiet", action="store_true", help="wait for others to be quiet before each time")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table is written beside it")
    return parser


def _earlier(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    return rows


def _timed(workers: int, runs: Path, options: argparse.Namespace) -> dict[str, Any]:
    given = {"recipe": str(options.recipe.resolve()), "steps": options.steps, "runs": str(runs)}
    pieces = [
        Piece(changed(one), f"run-{number}", given | {"changes": one.model_dump(mode="json")})
        for number, one in enumerate(ENTRIES, start=1)
    ]
    busy, started = _busy_elsewhere_seconds(), time.monotonic()
    ended = through_runner(Places("dask", workers), "benchmarks.sweep_on_dask:train", pieces)
    seconds, busy = time.monotonic() - started, _busy_elsewhere_seconds() - busy
    for end in ended:
        if isinstance(end, Exception):
            raise end
    trained = [round(end["seconds"], 2) for end in ended if isinstance(end, dict)]
    return {
        "workers": workers,
        "seconds": round(seconds, 2),
        "training_seconds": trained,
        "cores_busy_elsewhere": round(busy / seconds, 2),
    }


def _busy_elsewhere_seconds() -> float:
    """Processor time that went to anything but this process and what it started, since the machine was."""
    user, nice, system = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:4])
    own = os.times()
    # Workers and their processes have ended, and been waited for, by the time that this is asked.
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(own[:4])


def _wait_until_quiet(seconds: float = 15.0) -> None:
    """Return when others have taken no more than a little for a while."""
    taken = QUIET_CORES + 1.0
    while taken > QUIET_CORES:
        before = _busy_elsewhere_seconds()
        time.sleep(seconds)
        taken = (_busy_elsewhere_seconds() - before) / seconds


def train(payload: dict[str, Any]) -> dict[str, float]:
    """Train the student of one entry, in a process of its own."""
    runs, changes = Path(payload["runs"]), Changes.model_validate(payload["changes"])
    settings = _settings(Path(payload["recipe"]), changes, payload["steps"], runs)
    with of_task_run(payload) as in_flow:
        call = through_prefect if in_flow else directly
        read = _before_training(settings, runs, call)
        work = Work(Store(runs / "store"), call)
        return {"seconds": work.store.manifest(work.make(distill, settings.distill, read)).seconds}


def _before_training(settings: SettingsOfStages, runs: Path, call: Call) -> dict[str, Reference]:
    work = Work(Store(runs / "store"), call)
    teacher = work.make(load_teacher, settings.teacher, {})
    read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
    return {"start": make_start(settings, work, read), **read}


def _settings(path: Path, changes: Changes, steps: int, runs: Path) -> SettingsOfStages:
    """The recipe with one thread, and enough steps that training is what takes the time."""
    read = load_recipe(path, changes)
    longer = read.distillation.model_copy(update={"steps": steps, "validate_every": steps})
    recipe = read.model_copy(update={"threads": 1, "distillation": longer})
    return prepare(recipe, path.resolve().parent, Store(runs / "store"))


def ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Two workers' time over one's, where both count: of each repeat, and of the medians."""
    counted = [row for row in rows if row["cores_busy_elsewhere"] <= QUIET_CORES]
    seconds = {workers: [row["seconds"] for row in counted if row["workers"] == workers] for workers in (1, 2)}
    if not seconds[1] or not seconds[2]:
        return {"ratio": None, "ratios": []}
    by_repeat = {(row["repeat"], row["workers"]): row["seconds"] for row in counted}
    pairs = [by_repeat[repeat, 2] / one for (repeat, workers), one in by_repeat.items()
             if workers == 1 and (repeat, 2) in by_repeat]  # fmt: skip
    ratio = median(seconds[2]) / median(seconds[1])
    return {"ratio": round(ratio, 3), "ratios": [round(pair, 3) for pair in pairs]}


def _origin(recipe: Path) -> dict[str, Any]:
    return {"recipe": recipe.name, "code": code_version(), "environment": environment()}


def _write(out: Path, found: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(found), encoding="utf-8")


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    machine = found["environment"]
    lines = [
        f"| {row['repeat']} | {row['workers']} | {row['seconds']:.1f} | "
        f"{', '.join(f'{seconds:.1f}' for seconds in row['training_seconds'])} | {row['cores_busy_elsewhere']:.1f} |"
        for row in found["rows"]
    ]
    pairs = ", ".join(f"{pair:.2f}" for pair in found["ratios"]) or "none"
    if found["ratio"] is None:
        told = "**What two workers take of the time of one is not known yet**: no pair ran on a quiet machine."
    else:
        told = f"**Two workers take {found['ratio']:.2f} of the time of one** (medians; repeat by repeat {pairs})."
    return f"""# Two Dask workers against one, on a sweep's training

{len(ENTRIES)} entries ({"; ".join(map(changed, ENTRIES))}) of `{found["recipe"]}` with {found["steps"]} steps and one
thread each; what they share was made before. Seconds are of the whole: cluster and processes started, students
trained, all ended again. At most {AT_MOST} was asked for.

{told}
Where other processes took more than {QUIET_CORES} cores on average, the time is shown and does not count.

| repeat | workers | seconds | of these, each student's training | cores busy elsewhere |
|--:|--:|--:|---|--:|
{chr(10).join(lines)}

{machine["processor"]}, {machine["cores"]} cores. Busy elsewhere: what other processes took of them meanwhile, on
average, Prefect's server among them. Made by `python -m benchmarks.sweep_on_dask`.
"""


if __name__ == "__main__":
    main()
