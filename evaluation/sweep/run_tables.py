"""The tables of a comparison: a row a run, and a row a variant of a run."""

from collections.abc import Iterator

from evaluation.report import words
from evaluation.report.differences import Difference, bounds
from evaluation.report.gains import ABOVE
from evaluation.report.measure_words import capability_measure
from evaluation.report.tables import Cell, Table, measured, missing
from evaluation.benchmark_files import POOLED
from evaluation.results import VariantAbsent
from evaluation.sweep.comparison import COSTS, Comparison, Cost, RunRow, VariantRow

COST_WORDS: dict[Cost, str] = {
    "size_bytes": "size",
    "inter_token_latency_ms": "time between tokens",
    "peak_memory_bytes": "memory",
}
HELD_OUT = (ABOVE, "kl_to_teacher_nats_per_token", "top1_agreement_with_teacher")
VARIANT = ("bits_per_byte", "size_bytes", "time_to_first_token_ms", "inter_token_latency_ms", "peak_memory_bytes")
TONES = {"ships": "good", "ships in part": "unsure", "blocked": "bad", "measured": "unsure"}


def runs_table(found: Comparison) -> Table:
    """A row a run: what it changed, what its student is worth, and the cheapest of its variants."""
    cheapest = [f"least {COST_WORDS[cost]}" for cost in COSTS]
    columns = ("run", "verdict", *map(words.label, HELD_OUT), "right answers (points)", *cheapest, "folder")
    rows = tuple((Cell(row.name, note=row.changed), *_cells(row, len(columns) - 1)) for row in found.runs)
    note = (
        "Below a figure: its 95% interval. Loss, KL and agreement are of the student in full precision on held-out "
        "text, against the teacher. Right answers: student less teacher over all benchmarks' documents. Least: among "
        "the run's variants that ship, or, where none does, all."
    )
    return Table("Runs", columns, rows, note)


def _cells(row: RunRow, width: int) -> Iterator[Cell]:
    if row.student is None:
        yield Cell("failed", tone="bad")
        yield Cell(row.failed or "no reason was given", span=width - 1)
        return
    yield Cell(row.verdict or "", note=row.reason or "", tone=TONES.get(row.verdict or "", ""))
    for field in HELD_OUT:
        value = getattr(row.student, field)
        yield missing("no teacher") if value is None else measured(field, value, row.student.intervals.get(field))
    yield _right_answers(row)
    made = {name: one for name, one in row.variants.items() if isinstance(one, VariantRow)}
    offered = {name: one for name, one in made.items() if one.ships} or made
    for cost in COSTS:
        yield _cheapest(offered, cost)
    yield Cell(row.run or "")


def _right_answers(row: RunRow) -> Cell:
    if row.pooled is None or row.pooled.difference_to_teacher is None:
        return missing("not scored")
    one = capability_measure(POOLED)
    difference = Difference(row.pooled.difference_to_teacher, row.pooled.difference_interval)
    spread = bounds(one, difference) or "no interval"
    return Cell(one.difference(difference.value), exact=repr(difference.value), note=spread, is_number=True)


def _cheapest(offered: dict[str, VariantRow], cost: Cost) -> Cell:
    if not offered:
        return missing("no variant")
    name = min(offered, key=lambda name: getattr(offered[name], cost))
    value = getattr(offered[name], cost)
    return Cell(words.figure(cost, value), exact=repr(value), note=name, is_number=True)


def variants_table(found: Comparison) -> Table:
    """A row a variant of a run: whether it ships, its quality and its costs, and what it is best at."""
    columns = ("run and variant", "", *map(words.label, VARIANT), "nothing beats it in")
    rows = tuple(
        (Cell(f"{row.name} {name}"), *_variant_cells(one, len(columns) - 1))
        for row in found.runs
        for name, one in row.variants.items()
    )
    lengths = {one.prompt_tokens for row in found.runs for one in row.variants.values() if isinstance(one, VariantRow)}
    after = f", after {words.listed(map(words.number, sorted(lengths)))} prompt tokens" if lengths else ""
    note = (
        f"Times are medians{after}; below a figure: its 95% interval. Bits per byte: how badly held-out text is "
        "predicted by the bytes that ship, less is better. Nothing beats it: no other variant "
        f"({found.compete} competes) is better both in this cost and in bits per byte, as measured; where intervals "
        "overlap, chance may have decided."
    )
    return Table("Variants of every run", columns, rows, note)


def _variant_cells(found: VariantRow | VariantAbsent, width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell("not made", tone="bad")
        yield Cell(found.reason, span=width - 1)
        return
    yield Cell("ships", tone="good") if found.ships else Cell("does not ship", tone="bad")
    for field in VARIANT:
        yield measured(field, getattr(found, field), found.intervals.get(field))
    yield Cell(words.listed(COST_WORDS[cost] for cost in found.best) if found.best else "")
