"""What a run leaves: `runs/<recipe>/<run id>/` with results, report, plots and package."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.benchmark_files import POOLED
from evaluation.report import differences, gate_words
from evaluation.report.measure_words import capability_measure
from evaluation.results import GateResult, ModelFigures, PackageRecord, Results, Score, VariantAbsent
from flows.work import Call, Made, Planner, Work, directly
from stillhouse.store import collect
from stillhouse.store.artifact import MANIFEST, Reference
from stillhouse.store.links import link_tree
from stillhouse.store.store import Store

REFERENCES = "run.json"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and how the run ended."""

    path: Path
    verdict: str = "running"

    def filled(self, store: Store, made: Made) -> "RunFolder":
        """Link the run's results into its folder; large files are hard links into the store."""
        _note_references(self.path, made.artifacts)
        for name in ("report.html", "report.md", "plots"):
            link_tree(store.folder(made.report) / name, self.path / name)
        results = Results.model_validate_json((store.folder(made.results) / "results.json").read_text("utf-8"))
        if made.package is not None:
            link_tree(store.folder(made.package), self.path / "package")
            results = results.model_copy(update={"package": _record(store, made.package)})
        write_whole(self.path / "results.json", results.model_dump_json(indent=1))
        return replace(self, verdict="blocked" if made.package is None else "passed")


@dataclass(frozen=True)
class Asked:
    """Work that passed preflight."""

    order: Callable[[Work], Made]
    """Names stages in order."""
    name: str
    """Of the runs beside which this one lies, in the folder that holds the store."""
    store: Store
    """Makes and remembers."""
    training_tokens: int = 0
    """Tokens that pass through training, at most; 0 where nothing is trained."""

    def planned(self) -> Made:
        """Name every artifact; nothing is made."""
        return self.order(Work(Planner(self.store.root), directly))


def carry_out(asked: Asked, call: Call) -> RunFolder:
    """Open a run's folder, do its work, and fill the folder; `call` is the way to run a stage."""
    with collect.held_off(asked.store.root):
        planned = list(asked.planned().artifacts)
        folder = RunFolder(new_folder(asked.store.root.parent, asked.name, planned))

    def note(reference: Reference) -> None:
        if reference not in planned:
            planned.append(reference)
            with collect.held_off(asked.store.root):
                _note_references(folder.path, planned)

    return folder.filled(asked.store, asked.order(Work(asked.store, call, note=note)))


def new_folder(runs: Path, name: str, planned: Sequence[Reference]) -> Path:
    """Make `runs/<name>/<when it started>`, and note in it what the run is going to need, so that `gc` keeps it."""
    started = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    # Tells two runs of one second apart; the process id would not, for in every container it is the same.
    folder = runs / name / f"{started}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    _note_references(folder, planned)
    return folder


def read_references(folder: Path) -> list[Reference]:
    """The artifacts that a run's folder names."""
    entries = json.loads((folder / REFERENCES).read_text(encoding="utf-8"))
    return [Reference(**entry) for entry in entries]


def references_of_runs(runs: Path) -> set[Reference]:
    """Every artifact that a run's folder names."""
    return {reference for file in runs.glob(f"*/*/{REFERENCES}") for reference in read_references(file.parent)}


def is_delivered(store: Store, package: Reference) -> bool:
    """Whether a finished run's folder holds a package that the store has whole."""
    finished = (file.parent for file in store.root.parent.glob(f"*/*/{REFERENCES}") if _has_package(file.parent))
    return any(package in read_references(folder) for folder in finished) and store.holds(package)


def _has_package(folder: Path) -> bool:
    return (folder / "results.json").is_file() and (folder / "package" / MANIFEST).is_file()


def write_whole(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)


def _note_references(folder: Path, artifacts: Sequence[Reference]) -> None:
    write_whole(folder / REFERENCES, json.dumps([asdict(reference) for reference in artifacts], indent=1))


def _record(store: Store, package: Reference) -> PackageRecord:
    manifest = store.manifest(package)
    return PackageRecord(
        path="package",
        key=manifest.key,
        digest=manifest.digest,
        variants=sorted(manifest.facts["variants"]),
        left_out=manifest.facts["left_out"],
    )


def summary(run: Path) -> str:
    """The end of a run in a few lines: verdict, what was found, where to look."""
    results = Results.model_validate_json((run / "results.json").read_text(encoding="utf-8"))
    seconds = sum(stage.seconds for stage in results.lineage.stages)
    lines = [
        *_found(results.models),
        *_scored(results.capability),
        f"stages     {seconds / 60:.1f} min of work, done now or earlier",
        f"report     {run / 'report.html'}",
    ]
    absent = {name: one.reason for name, one in results.variants.items() if isinstance(one, VariantAbsent)}
    lines += [f"absent     {name}: {reason}" for name, reason in absent.items()]
    lines += [f"gate       {_unmet(gate)}" for gate in results.gates if gate.verdict != "passed"]
    if results.package is None:
        return "\n".join(["BLOCKED: a gate keeps this student from shipping", *lines])
    ships = ", ".join(results.package.variants)
    return "\n".join([f"PACKAGED: {ships}", *lines, f"package    {run / results.package.path}"])


def _found(models: Mapping[Any, ModelFigures]) -> Iterator[str]:
    """What became of the student, beside its teacher where it has one."""
    student, teacher, start = models["student"], models.get("teacher"), models.get("pruned")
    if teacher is None:
        yield f"model      {student.parameters / 1e6:.1f}M parameters"
        yield f"held out   {student.held_out_loss_nats_per_token:.3f} nats per token"
        return
    yield f"student    {student.parameters / 1e6:.1f}M of {teacher.parameters / 1e6:.1f}M parameters"
    if student.held_out_loss_above_teacher_nats_per_token is None:
        yield f"held out   {student.bits_per_byte:.3f} bits per byte, the teacher {teacher.bits_per_byte:.3f}"
        return
    before = f" (before distillation {start.held_out_loss_above_teacher_nats_per_token:.3f})" if start else ""
    above = f"{student.held_out_loss_above_teacher_nats_per_token:.3f} nats per token above the teacher"
    yield f"held out   {above}{before}"


def _scored(capability: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    """Right answers beside the teacher's on all benchmarks together, and what so many documents can show."""
    scores = capability.get(POOLED, {})
    found = differences.difference(scores)
    if found is not None:
        one = capability_measure(POOLED)
        yield f"answers    {differences.signed(one, found)} against the teacher, {found.reading}"
        yield f"evidence   {differences.seen(one, found, scores['student'].n)}"


def _unmet(gate: GateResult) -> str:
    settled = gate_words.settled_by(gate)
    return f"{gate.figure} ({'; '.join(part for part in (f'{gate.verdict}, {gate.limit}', settled) if part)})"
