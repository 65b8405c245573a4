"""`comparison.json`: the runs of a sweep beside each other, a row each, and the variants that no other one beats."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Literal

from evaluation.benchmark_files import POOLED
from evaluation.report import findings, words
from evaluation.report.gains import ABOVE
from evaluation.results import Interval, ModelFigures, NoiseFloor, Part, Results, Score, VariantAbsent, VariantFigures
from evaluation.separation import Measured
from evaluation.sweep.front import Contender, front
from stillhouse.recipe.changes import Changes
from stillhouse.recipe.settings import Settings

QUALITY = "bits_per_byte"
"""The quality that all forms of all students have, measured on the bytes that ship; less is better."""
Cost = Literal["size_bytes", "inter_token_latency_p95_ms", "peak_memory_bytes"]
COSTS: tuple[Cost, ...] = ("size_bytes", "inter_token_latency_p95_ms", "peak_memory_bytes")
"""What a variant costs whoever serves it; less is better."""
PATHS = {
    "inter_token_latency_ms": "inter_token_latency_ms.p50",
    "inter_token_latency_p95_ms": "inter_token_latency_ms.p95",
    "time_to_first_token_ms": "time_to_first_token_ms.p50",
}
"""Where a figure of a row stands within a variant in `results.json`, if not under its own name."""


class ComparedRun(Settings):
    """One run of a sweep, as its flow knows it."""

    numbers: tuple[int, ...]
    """Places in the list of changes that asked for it, from 1: equal entries are one run."""
    changes: Changes
    """What it did otherwise than the recipe says."""
    run: str | None = None
    """Its folder, within the folder of all runs; `None` where it failed."""
    failed: str | None = None
    """Why it failed."""

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return str(self.numbers[0])


class VariantRow(Part):
    """A variant of one run, as far as the comparison goes; the run's own `results.json` has it all."""

    ships: bool
    """Whether no gate keeps it back."""
    size_bytes: int
    """Its directory as shipped."""
    time_to_first_token_ms: float
    """Median, after a prompt of `prompt_tokens`."""
    inter_token_latency_ms: float
    """Median, after the same prompt."""
    inter_token_latency_p95_ms: float
    """95 of 100 are faster, after the same prompt."""
    peak_memory_bytes: int
    """Of a process that loads it and generates."""
    bits_per_byte: float
    """How badly held-out text is predicted."""
    kl_to_fp32: float
    """To the same student in full precision, in nats per token."""
    prompt_tokens: int
    """Length of the prompt behind the latencies."""
    intervals: dict[str, Interval]
    """95% interval of each figure that has one."""
    noise_floor: dict[str, float] = {}
    """What the run's machine makes of each figure that has a floor, by which factor above 1."""
    best: list[Cost] = []
    """Costs at which no other variant that ships, of any run, beats it together with bits per byte."""
    on_front: bool = False
    """Whether no other variant that ships, of any run, beats it in quality and all costs together."""


class RunRow(Part):
    """One run of a sweep, and what came of it."""

    name: str
    """Its place in the list of changes, from 1."""
    equal: list[int] = []
    """Other places in the list that ask for the same."""
    changed: str
    """What it did otherwise than the recipe says, in words."""
    changes: dict[str, Any]
    """The same, by the names that a form or a file gives them."""
    run: str | None
    """Its folder, within the folder of all runs."""
    failed: str | None = None
    """Why there is nothing more to say of it."""
    verdict: Literal["ships", "ships in part", "blocked", "measured"] | None = None
    """What its gates say."""
    reason: str | None = None
    """The verdict in a sentence."""
    student: ModelFigures | None = None
    """Its student on held-out text."""
    pooled: Score | None = None
    """Its student on the documents of all benchmarks together."""
    variants: dict[str, VariantRow | VariantAbsent] = {}
    """Each deployable form."""


class Comparison(Part):
    """A sweep's runs beside each other."""

    schema_version: Literal[1] = 1
    """Rises when a reader of this file would break."""
    name: str
    """The recipe's name."""
    runs: list[RunRow]
    """In the order of the list of changes."""
    fronts: dict[Cost, list[str]]
    """For each cost, the variants that no other one beats in it and in bits per byte at once, as `2 onnx-int4`."""
    front: list[str]
    """The variants that no other one beats in bits per byte and all costs at once. One beats another that is nowhere
    better as measured and somewhere worse for certain: intervals apart, by more than the noise floor."""
    compete: Literal["what ships", "all that was measured"]
    """Which variants the fronts are drawn over: all, only where nothing ships."""
    same_text: bool
    """Whether all runs were compared with one teacher on the same held-out text."""


def changed(changes: Changes) -> str:
    """What a run does otherwise than its recipe says, in a few words."""
    parts = {
        "teacher": changes.teacher,
        "layers": changes.layers,
        "training tokens": changes.train_tokens and f"{changes.train_tokens:,}",
        "loss": None if changes.loss == "of the recipe" else changes.loss,
        "alpha": changes.alpha,
        "temperature": changes.temperature,
        "variants": " + ".join(changes.variants) or None,
        "gates": "only warn" if changes.gates == "warn" else None,
    }
    told = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in parts.items()
            if value is not None]  # fmt: skip
    return ", ".join(told) or "as the recipe says"


_SHORT: dict[Cost, str] = {
    "size_bytes": "size",
    "inter_token_latency_p95_ms": "speed",
    "peak_memory_bytes": "memory",
}


def summary(found: Comparison) -> str:
    """The comparison in a few lines, the first of which is enough to know how it went."""
    failed = sum(row.failed is not None for row in found.runs)
    lines = [f"COMPARED: {words.plural(len(found.runs), 'run')} of {found.name}" + f", {failed} failed" * bool(failed)]
    for row in found.runs:
        lines.append(f"run {row.name:<7} {row.changed}: {_told(row)}")
    for cost, names in found.fronts.items():
        if names:
            lines.append(f"{_SHORT[cost]:<11} nothing beats {words.listed(names)}")
    if found.front:
        lines.append(f"{'all':<11} nothing beats {words.listed(found.front)}")
    return "\n".join(lines)


def _told(row: RunRow) -> str:
    if row.student is None:
        return f"FAILED: {row.failed}"
    above = row.student.held_out_loss_above_teacher_nats_per_token
    return f"{row.verdict}, held out {words.figure(ABOVE, above)} nats per token above the teacher"


def compare(name: str, runs: tuple[ComparedRun, ...], results: Mapping[str, Results]) -> Comparison:
    """Set runs beside each other.

    Args:
        name: The recipe's.
        runs: Of the sweep, those that failed among them.
        results: What each run found that did not fail, by the run's name.
    """
    rows = [_row(run, results.get(run.name)) for run in runs]
    made = variants(rows)
    ships = {label: one for label, one in made.items() if one.ships}
    competing = ships or made
    fronts = {
        cost: list(front({label: contender(one, (cost, QUALITY)) for label, one in competing.items()}))
        for cost in COSTS
    }
    whole = list(front({label: contender(one, (QUALITY, *COSTS)) for label, one in competing.items()}))
    teachers = {found.models["teacher"].held_out_loss_nats_per_token for found in results.values()}
    return Comparison(
        name=name,
        runs=[_marked(row, fronts, whole) for row in rows],
        fronts=fronts,
        front=whole,
        compete="what ships" if ships else "all that was measured",
        same_text=len(teachers) <= 1,
    )


def contender(row: VariantRow, figures: Sequence[str]) -> Contender:
    """Some figures of a row as they may be compared; of too few documents to tell an interval, nothing is certain."""
    unknown = {QUALITY: (-inf, inf)}
    return Contender(
        tuple(Measured(float(getattr(row, name)), row.intervals.get(name, unknown.get(name))) for name in figures),
        tuple(row.noise_floor.get(name, 0.0) for name in figures),
    )


def variants(rows: list[RunRow]) -> dict[str, VariantRow]:
    """Every measured variant of every run, by the name that the fronts give it."""
    return {
        label(row, variant): found
        for row in rows
        for variant, found in row.variants.items()
        if isinstance(found, VariantRow)
    }


def label(row: RunRow, variant: str) -> str:
    """What a variant of a run is called among those of other runs."""
    return f"{row.name} {variant}"


def _row(run: ComparedRun, results: Results | None) -> RunRow:
    told: dict[str, Any] = {
        "name": run.name,
        "equal": list(run.numbers[1:]),
        "changed": changed(run.changes),
        "changes": run.changes.model_dump(mode="json", exclude_defaults=True),
        "run": run.run,
        "failed": run.failed,
    }
    if results is None:
        return RunRow(**told)
    found = findings.verdict(results)
    made = {
        variant: _variant(figures, variant in found.shipped, results.noise_floor)
        if isinstance(figures, VariantFigures)
        else figures
        for variant, figures in results.variants.items()
    }
    return RunRow(
        **told,
        verdict=found.word,
        reason=found.sentence,
        student=results.models["student"],
        pooled=results.capability.get(POOLED, {}).get("student"),
        variants=made,
    )


def _variant(figures: VariantFigures, ships: bool, noise: NoiseFloor | None) -> VariantRow:
    copied = ("size_bytes", "peak_memory_bytes", "bits_per_byte", "kl_to_fp32", "prompt_tokens")
    paths = {field: field for field in copied} | PATHS
    floors = {} if noise is None else noise.relative
    return VariantRow(
        ships=ships,
        **{field: getattr(figures, field) for field in copied},
        time_to_first_token_ms=figures.time_to_first_token_ms.p50,
        inter_token_latency_ms=figures.inter_token_latency_ms.p50,
        inter_token_latency_p95_ms=figures.inter_token_latency_ms.p95,
        intervals={field: figures.intervals[path] for field, path in paths.items() if path in figures.intervals},
        noise_floor={field: floors[path] for field, path in paths.items() if path in floors},
    )


def _marked(row: RunRow, fronts: Mapping[Cost, list[str]], whole: Sequence[str]) -> RunRow:
    """The row, with what each of its variants is best at."""
    marked: dict[str, VariantRow | VariantAbsent] = {}
    for variant, found in row.variants.items():
        name = label(row, variant)
        best = {"best": [cost for cost in COSTS if name in fronts[cost]], "on_front": name in whole}
        marked[variant] = found.model_copy(update=best) if isinstance(found, VariantRow) else found
    return row.model_copy(update={"variants": marked})
