"""The tables of a comparison: a row a run, and a row a variant of a run."""

from collections.abc import Iterator
from dataclasses import replace

from evaluation.benchmark_files import POOLED
from evaluation.report import noise_words, words
from evaluation.report.differences import Difference, bounds
from evaluation.report.gains import ABOVE
from evaluation.report.measure_words import capability_measure
from evaluation.report.tables import Cell, Table, measured, missing
from evaluation.results import VariantAbsent
from evaluation.sweep.comparison import COSTS, Comparison, Cost, RunRow, VariantRow, contender, label
from evaluation.sweep.front import beats

COST_WORDS: dict[Cost, str] = {
    "size_bytes": "size",
    "inter_token_latency_p95_ms": "time",
    "peak_memory_bytes": "memory",
}
HELD_OUT = (ABOVE, "kl_to_teacher_nats_per_token", "top1_agreement_with_teacher")
VARIANT = (
    "bits_per_byte",
    "size_bytes",
    "time_to_first_token_ms",
    "inter_token_latency_ms",
    "inter_token_latency_p95_ms",
    "peak_memory_bytes",
)
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
    note = (
        "Of the variants that ship, or, where none does, of all. Time between tokens: 95 of 100 are faster. In "
        "brackets: variants that intervals and noise floor do not tell apart from the cheapest."
    )
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
    least = contender(offered[name], (cost,))
    equal = [other for other in offered if other != name and not beats(least, contender(offered[other], (cost,)))]
    note = f"{name} (or {words.listed(equal)})" if equal else name
    return Cell(words.figure(cost, value), exact=repr(value), note=note, is_number=True)


def variants_table(found: Comparison) -> Table:
    """A row a variant of a run: its quality and its costs, what it is best at, and whether it ships."""
    columns = ("run and variant", *map(words.label, VARIANT), "nothing beats it in", "nor in all at once")
    rows = tuple(
        (Cell(label(row, name), note=_held_back(one)), *_variant_cells(one, len(columns) - 1))
        for row in found.runs
        for name, one in row.variants.items()
    )
    lengths = {one.prompt_tokens for row in found.runs for one in row.variants.values() if isinstance(one, VariantRow)}
    after = f", after {words.listed(map(words.number, sorted(lengths)))} prompt tokens" if lengths else ""
    note = (
        f"Times are medians, or p95{after}; below a figure: its 95% interval, and with \u00b1 the noise floor, by "
        "which one variant of that run differs from itself. Bits per byte: how badly held-out text is predicted "
        f"by the bytes that ship, less is better. Nothing beats it: of {found.compete}, no variant is at least as good "
        "in bits per byte and in this cost (or in all costs, last column) and better in one of them for certain, which "
        "is where intervals are apart by more than the noise floor."
    )
    return Table("Variants of every run", columns, rows, note)


def _held_back(found: VariantRow | VariantAbsent) -> str:
    return "does not ship" if isinstance(found, VariantRow) and not found.ships else ""


def _variant_cells(found: VariantRow | VariantAbsent, width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell(f"not made: {found.reason}", span=width)
        return
    for field in VARIANT:
        yield _figure(found, field)
    yield Cell(", ".join(COST_WORDS[cost] for cost in found.best))
    yield Cell("nothing beats it", tone="good") if found.on_front else Cell("")


def _figure(found: VariantRow, field: str) -> Cell:
    """A figure with its interval and its noise floor."""
    cell = measured(field, getattr(found, field), found.intervals.get(field))
    floor = found.noise_floor.get(field)
    return cell if floor is None else replace(cell, note=f"{cell.note} {noise_words.spelled(floor)}".strip())
