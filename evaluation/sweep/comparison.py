"""`comparison.json`: the runs of a sweep beside each other, a row each, and the variants that no other one beats."""

from collections.abc import Mapping
from typing import Any, Literal

from evaluation.benchmark_files import POOLED
from evaluation.report import findings, words
from evaluation.report.gains import ABOVE
from evaluation.results import Interval, ModelFigures, Part, Results, Score, VariantAbsent, VariantFigures
from evaluation.sweep.front import front
from stillhouse.recipe.changes import Changes
from stillhouse.recipe.settings import Settings

QUALITY = "bits_per_byte"
"""The quality that all forms of all students have, measured on the bytes that ship; less is better."""
Cost = Literal["size_bytes", "inter_token_latency_ms", "peak_memory_bytes"]
COSTS: tuple[Cost, ...] = ("size_bytes", "inter_token_latency_ms", "peak_memory_bytes")
"""What a variant costs whoever serves it; less is better."""


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
    best: list[Cost] = []
    """Costs at which no other variant that ships, of any run, predicts better."""


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
    "inter_token_latency_ms": "speed",
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
        cost: list(front({label: (getattr(one, cost), one.bits_per_byte) for label, one in competing.items()}))
        for cost in COSTS
    }
    teachers = {found.models["teacher"].held_out_loss_nats_per_token for found in results.values()}
    return Comparison(
        name=name,
        runs=[_marked(row, fronts) for row in rows],
        fronts=fronts,
        compete="what ships" if ships else "all that was measured",
        same_text=len(teachers) <= 1,
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
        variant: _variant(figures, variant in found.shipped) if isinstance(figures, VariantFigures) else figures
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


def _variant(figures: VariantFigures, ships: bool) -> VariantRow:
    latencies = ("time_to_first_token_ms", "inter_token_latency_ms")
    copied = ("size_bytes", "peak_memory_bytes", "bits_per_byte", "kl_to_fp32", "prompt_tokens")
    found = {field: figures.intervals.get(field) for field in copied}
    found |= {field: figures.intervals.get(f"{field}.p50") for field in latencies}
    return VariantRow(
        ships=ships,
        **{field: getattr(figures, field) for field in copied},
        **{field: getattr(figures, field).p50 for field in latencies},
        intervals={field: bounds for field, bounds in found.items() if bounds is not None},
    )


def _marked(row: RunRow, fronts: Mapping[Cost, list[str]]) -> RunRow:
    """The row, with what each of its variants is best at."""
    marked = {
        variant: found.model_copy(update={"best": [cost for cost in COSTS if label(row, variant) in fronts[cost]]})
        if isinstance(found, VariantRow)
        else found
        for variant, found in row.variants.items()
    }
    return row.model_copy(update={"variants": marked})
