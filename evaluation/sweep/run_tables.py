"""The tables of a comparison: a row a run, and a row a variant of a run."""

from collections.abc import Iterator

from evaluation.benchmark_files import POOLED
from evaluation.report import words
from evaluation.report.differences import Difference, bounds
from evaluation.report.gains import ABOVE
from evaluation.report.measure_words import capability_measure
from evaluation.report.tables import Cell, Table, measured, missing
from evaluation.results import VariantAbsent
from evaluation.sweep.comparison import COSTS, Comparison, Cost, RunRow, VariantRow, label

COST_WORDS: dict[Cost, str] = {
    "size_bytes": "size",
    "inter_token_latency_ms": "time",
    "peak_memory_bytes": "memory",
}
HELD_OUT = (ABOVE, "kl_to_teacher_nats_per_token", "top1_agreement_with_teacher")
VARIANT = ("bits_per_byte", "size_bytes", "time_to_first_token_ms", "inter_token_latency_ms", "peak_memory_bytes")
TONES = {"ships": "good", "ships in part": "unsure", "blocked": "bad", "measured": "unsure"}


def runs_table(found: Comparison) -> Table:
    """A row a run: what it changed, what its gates say, and what its student is worth."""
    columns = ("run", "verdict", *map(words.label, HELD_OUT), "right answers (points)")
    rows = tuple((Cell(row.name, note=_changed(row)), *_cells(row, len(columns) - 1)) for row in found.runs)
    note = (
        "Below a figure: its 95% interval. Loss, KL and agreement are of the student in full precision on held-out "
        "text, against the teacher. Right answers: student less teacher over all benchmarks' documents."
    )
    return Table("Runs", columns, rows, note)


def cheapest_table(found: Comparison) -> Table:
    """A row a run that did not fail: the cheapest of its variants in each way, and where the rest of it lies."""
    columns = ("run", *map(words.label, COSTS), "folder")
    rows = tuple((Cell(row.name), *_cheapest_cells(row)) for row in found.runs if row.student is not None)
    note = "Of the variants that ship, or, where none does, of all. Times are medians."
    return Table("The cheapest variant of each run", columns, rows, note)


def _cheapest_cells(row: RunRow) -> Iterator[Cell]:
    made = {name: one for name, one in row.variants.items() if isinstance(one, VariantRow)}
    offered = {name: one for name, one in made.items() if one.ships} or made
    for cost in COSTS:
        yield _cheapest(offered, cost)
    yield Cell(row.run or "")


def _changed(row: RunRow) -> str:
    if not row.equal:
        return row.changed
    return f"{row.changed}; {'entry' if len(row.equal) == 1 else 'entries'} {words.listed(map(str, row.equal))} too"


def _cells(row: RunRow, width: int) -> Iterator[Cell]:
    if row.student is None:
        yield Cell("failed", tone="bad")
        yield Cell(row.failed or "no reason was given", span=width - 1)
        return
    yield _verdict(row)
    for field in HELD_OUT:
        value = getattr(row.student, field)
        yield missing("no teacher") if value is None else measured(field, value, row.student.intervals.get(field))
    yield _right_answers(row)


def _verdict(row: RunRow) -> Cell:
    """The verdict, and below it why not all ships; why a variant does not is in the run's own report."""
    held_back = [name for name, one in row.variants.items() if isinstance(one, VariantAbsent) or not one.ships]
    note = {
        "ships in part": f"without {words.listed(held_back)}",
        "blocked": (row.reason or "").removeprefix("is blocked "),
    }
    word = row.verdict or "measured"
    return Cell(word, note=note.get(word, ""), tone=TONES[word])


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
    """A row a variant of a run: its quality and its costs, what it is best at, and whether it ships."""
    columns = ("run and variant", *map(words.label, VARIANT), "nothing beats it in")
    rows = tuple(
        (Cell(label(row, name), note=_held_back(one)), *_variant_cells(one, len(columns) - 1))
        for row in found.runs
        for name, one in row.variants.items()
    )
    lengths = {one.prompt_tokens for row in found.runs for one in row.variants.values() if isinstance(one, VariantRow)}
    after = f", after {words.listed(map(words.number, sorted(lengths)))} prompt tokens" if lengths else ""
    note = (
        f"Times are medians{after}; below a figure: its 95% interval. Bits per byte: how badly held-out text is "
        f"predicted by the bytes that ship, less is better. Nothing beats it: of {found.compete}, no variant is better "
        "both in this cost and in bits per byte, as measured; where intervals overlap, chance may have decided."
    )
    return Table("Variants of every run", columns, rows, note)


def _held_back(found: VariantRow | VariantAbsent) -> str:
    return "does not ship" if isinstance(found, VariantRow) and not found.ships else ""


def _variant_cells(found: VariantRow | VariantAbsent, width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell(f"not made: {found.reason}", span=width)
        return
    for field in VARIANT:
        yield measured(field, getattr(found, field), found.intervals.get(field))
    yield Cell(", ".join(COST_WORDS[cost] for cost in found.best))
