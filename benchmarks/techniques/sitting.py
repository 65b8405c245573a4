"""Time every kind of work of the table in one sitting, for the view of equal time.

Seconds of two machines are no ratio, nor are those of one machine on two days where others share it: what is timed here
is timed one after the other, and plain KL before, between and after the rest, so that its timings tell how still the
machine kept. A killed sitting goes on.

    python -m benchmarks.techniques.sitting
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.techniques.rows import changes_of
from benchmarks.techniques.timings import NAME, Sitting, Timing, read, to_time, write
from benchmarks.techniques.train import BASE, OUT, cost_of, environment_of, order, settings_of
from flows.work import Work, directly
from stillhouse import terminal
from stillhouse.store.artifact import Reference, read_manifest
from stillhouse.store.store import Store


def main() -> None:
    """Time what was not timed yet."""
    options = _parser().parse_args()
    store = Store(options.runs.resolve() / "store")
    with terminal.shown():
        base = settings_of({}, options.base, options.threads, store)
        sitting = continued(read(options.out), environment_of(base), options.out / NAME)
        for row, seed in to_time():
            if any(timing.seed == seed for timing in sitting.of(row)):
                continue
            settings = settings_of(changes_of(row), options.base, options.threads, store)
            timing = _timed(row, seed, order(settings, base, seed, Work(store, directly))[2], store)
            sitting = replace(sitting, timings=(*sitting.timings, timing))
            write(options.out, sitting)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=BASE, help="the recipe under every row")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of records")
    # What the table's own store holds was made on another day.
    parser.add_argument("--runs", type=Path, default=Path("runs/sitting"), help="holds a store (default: runs/sitting)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def continued(before: Sitting, here: dict[str, Any], path: Path) -> Sitting:
    """What was timed before, if it was timed where the rest would be.

    Raises:
        ValueError: If it was timed on another processor.
    """
    if not before.timings:
        return Sitting(here)
    told, found = before.environment["processor"], here["processor"]
    if told != found:
        raise ValueError(
            f"{path} was timed on {told} and this is {found}: go on there, or delete it, and the records of equal time "
            "with it"
        )
    return before


def _timed(row: str, seed: int, own: Iterable[Reference], store: Store) -> Timing:
    cost = cost_of([read_manifest(store.folder(each)) for each in own])
    return Timing(row, seed, cost["seconds"], cost["training_seconds"], cost["load"])


if __name__ == "__main__":
    main()
