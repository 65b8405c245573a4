"""The entries of a sweep: checked before anything starts, run side by side, compared when all have ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.sweep.comparison import ComparedRun, Comparison, changed, summary
from evaluation.sweep.render import CompareRunsSettings
from flows.attended import Told, first_line
from flows.compress import check_recipe
from flows.run_folder import carry_out, new_folder, read_references
from flows.side_by_side import Ended, Piece, Places, Together, of_task_run
from flows.work import Call, Work, directly, through_prefect
from stillhouse import machine
from stillhouse.errors import InputError, Unavailable
from stillhouse.recipe import load_recipe
from stillhouse.recipe.changes import Changes
from stillhouse.store import collect
from stillhouse.store.artifact import Reference
from stillhouse.store.links import link_tree
from stillhouse.store.store import Store
from tasks.compare_runs import compare_runs

COMPARISON = "comparison.json"
_SHOWN = ("comparison.html", "comparison.md", COMPARISON, "plots")
_RESULTS = "assemble_results"


@dataclass(frozen=True)
class Sweep:
    """What is asked."""

    recipe: Path
    changes: tuple[Changes, ...]
    places: Places
    runs: Path

    @property
    def threads(self) -> int:
        """What a recipe gets that leaves its threads open: a share of this machine, for what runs beside others.

        One number for all entries, for it is part of every key: two entries share the teacher, the data and all else
        that they have in common only if they compute it with the same number of threads. Machines of a cluster are
        taken to be like this one, and to run one entry each.
        """
        cores = machine.usable_cores()
        return cores if self.places.scheduler else max(1, cores // self.places.workers)

    @property
    def at_once(self) -> int:
        """Runs that share this machine."""
        return 1 if self.places.scheduler else min(self.places.workers, len(self.changes))


@dataclass(frozen=True)
class Entry:
    """One run of a sweep."""

    numbers: tuple[int, ...]
    """Places in the list of changes, from 1: entries that come to the same are one run."""
    changes: Changes

    def piece(self, asked: Sweep) -> Piece:
        """The entry as a work in a process of its own, on whatever machine."""
        payload = {
            "recipe": str(asked.recipe.resolve()),
            "changes": self.changes.model_dump(mode="json"),
            "runs": str(asked.runs.resolve()),
            "threads": asked.threads,
        }
        numbers = ", ".join(map(str, self.numbers))
        return Piece(f"Run {numbers}: {changed(self.changes)}", f"run-{self.numbers[0]}", payload)


class RunsFailed(Told):
    """Runs of a sweep failed; the others are compared."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder
        """With the comparison."""


@dataclass(frozen=True)
class Swept:
    """A sweep whose runs have all ended."""

    folder: Path
    """With the comparison."""
    runs: tuple[ComparedRun, ...]

    def refuse_failures(self) -> None:
        """Say so where a run failed, now that the others are over.

        Raises:
            RunsFailed: Naming each with its reason.
        """
        failed = [f"run {run.name} ({changed(run.changes)}): {run.failed}" for run in self.runs if run.failed]
        if failed:
            raise RunsFailed(
                f"{len(failed)} of {len(self.runs)} runs failed: {'; '.join(failed)}. The others are compared in "
                f"{self.folder}; a new sweep finds them finished",
                self.folder,
            )


def summary_of(folder: Path) -> str:
    """The comparison in a sweep's folder, in a few lines."""
    found = Comparison.model_validate_json((folder / COMPARISON).read_text(encoding="utf-8"))
    return f"{summary(found)}\ncomparison  {folder / 'comparison.html'}"


def check_sweep(asked: Sweep) -> tuple[Entry, ...]:
    """Do all of preflight for every entry, before anything starts.

    Raises:
        InputError: Naming each problem with its entry's number.
    """
    asked.places.check()
    if not asked.changes:
        raise InputError("changes is empty; give an entry a run, an empty one for the recipe as it is")
    load_recipe(asked.recipe)
    found: dict[Reference, Entry] = {}
    problems: dict[str, list[str]] = {}
    for number, changes in enumerate(asked.changes, start=1):
        try:
            one = check_recipe(asked.recipe, changes, asked.runs, threads=asked.threads, at_once=asked.at_once)
            planned = one.planned().results
        except InputError as error:
            problems.setdefault(str(error), []).append(f"entry {number} ({changed(changes)})")
            continue
        # Two entries that come to the same results are one run, however they are written.
        before = found.get(planned, Entry((), changes))
        found[planned] = Entry((*before.numbers, number), before.changes)
    if problems:
        raise InputError("\n".join(f"{', '.join(entries)}: {problem}" for problem, entries in problems.items()))
    return tuple(found.values())


def run_sweep(asked: Sweep, entries: Sequence[Entry], together: Together, call: Call) -> Swept:
    """Run the entries, and compare those that did not fail; `together` runs entries, `call` a stage."""
    ended = together(asked.places, f"{__name__}:compress_entry", [entry.piece(asked) for entry in entries])
    runs = asked.runs.resolve()
    compared = tuple(_compared(entry, end, runs) for entry, end in zip(entries, ended, strict=True))
    return Swept(_compare(load_recipe(asked.recipe).name, compared, runs, call), compared)


def compress_entry(payload: dict[str, Any]) -> dict[str, Any]:
    """Carry out one entry, in a process of its own (`flows/side_by_side.py`)."""
    changes, runs = Changes.model_validate(payload["changes"]), Path(payload["runs"])
    with of_task_run(payload) as in_flow:
        try:
            asked = check_recipe(Path(payload["recipe"]), changes, runs, threads=payload["threads"])
            folder = carry_out(asked, through_prefect if in_flow else directly)
        except (InputError, Unavailable):
            raise
        except Exception as error:
            # Of all that is said of a failure, its row in the comparison has the first line.
            raise RuntimeError(first_line(error)) from error
    return {"run": folder.path.relative_to(runs).as_posix()}


def _compared(entry: Entry, ended: Ended, runs: Path) -> ComparedRun:
    match ended:
        case Exception() as error:
            # What a process said before it died goes to the log; here it would hide what to do.
            said = str(error) or type(error).__name__
            why = said.splitlines()[0].partition("; it last said")[0]
            return ComparedRun(numbers=entry.numbers, changes=entry.changes, failed=why)
        case {"run": str(folder)}:
            return ComparedRun(numbers=entry.numbers, changes=entry.changes, run=folder)
    raise AssertionError(ended)


def _compare(name: str, compared: tuple[ComparedRun, ...], runs: Path, call: Call) -> Path:
    """Make the comparison, and link it into a folder that keeps it, as a run's folder keeps what it names."""
    store = Store(runs / "store")
    read = {
        f"run_{run.numbers[0]}": reference
        for run in compared
        if run.run is not None
        for reference in read_references(runs / run.run)
        if reference.kind == _RESULTS
    }
    with collect.held_off(store.root):
        made = Work(store, call).make(compare_runs, CompareRunsSettings(name=name, runs=compared), read)
        folder = new_folder(runs, f"sweep-{name}", [*read.values(), made])
    for part in _SHOWN:
        link_tree(store.folder(made) / part, folder / part)
    return folder
