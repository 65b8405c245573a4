"""The tables that report and model card share: rows of cells, each with its shown text and its exact value."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.report import gate_words, words
from evaluation.report.findings import Difference, Verdict, difference
from evaluation.results import (
    GateResult,
    Interval,
    ModelFigures,
    Percentiles,
    Results,
    Score,
    VariantAbsent,
    VariantFigures,
)

MODELS: tuple[Literal["teacher", "pruned", "student"], ...] = ("teacher", "pruned", "student")
VARIANT_TABLES = {
    "Size and memory": ("size_bytes", "peak_memory_bytes", "peak_memory_above_imports_bytes", "load_seconds"),
    "Speed": (
        "time_to_first_token_ms",
        "inter_token_latency_ms",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "repeats",
        "threads",
    ),
    "Fidelity to torch-fp32": (
        "bits_per_byte",
        "bits_per_byte_ratio_to_fp32",
        "kl_to_fp32",
        "top1_agreement",
        "greedy_prefix_tokens",
        "parity_tokens",
    ),
}


SCORES_NOTE = (
    "± is one standard error over documents. The difference is student less teacher; its standard error takes the two "
    "as independent, which overstates it where both err on the same documents."
)


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    exact: str = ""
    """The value unrounded, or the whole of a shortened key."""
    note: str = ""
    """A second, smaller line: an interval, a reason."""
    tone: str = ""
    """`good`, `bad`, `unsure` where the cell carries a verdict."""
    is_number: bool = False
    """Set right-aligned."""
    span: int = 1
    """Columns that the cell covers."""


@dataclass(frozen=True)
class Table:
    """A table with its heading and what to know when reading it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def number_columns(self) -> tuple[int, ...]:
        """Columns that hold numbers, which are set right-aligned."""
        cells = ((column, cell) for row in self.rows for column, cell in enumerate(row))
        return tuple(sorted({column for column, cell in cells if cell.is_number}))


def models_table(results: Results) -> Table:
    """Teacher, pruned start and student on held-out text, a figure a row."""
    names = [name for name in MODELS if name in results.models]
    fields = [field for field in ModelFigures.model_fields if field != "intervals"]
    rows = [
        (Cell(words.label(field)), *(_model_cell(name, results.models[name], field) for name in names))
        for field in fields
    ]
    note = "Beside a figure: its 95% interval, bootstrapped over documents. Losses are fp32, on counted tokens only."
    return Table("Held-out text", ("", *names), tuple(rows), note)


def _model_cell(name: str, figures: ModelFigures, field: str) -> Cell:
    value = getattr(figures, field)
    if value is None:
        return _missing("the others are compared with it" if name == "teacher" else "not measured in this run")
    return measured(field, value, figures.intervals.get(field))


def measured(name: str, value: float, spread: Interval | None = None) -> Cell:
    """A cell with the figure `name`, in its unit."""
    return Cell(words.figure(name, value), exact=repr(value), note=words.interval(name, spread), is_number=True)


def _missing(reason: str) -> Cell:
    return Cell("n/a", note=reason, is_number=True)


def scores_tables(results: Results) -> list[Table]:
    """A table for each kind of benchmark that was scored."""
    kinds = (("Capability", results.capability), ("Behaviour", results.behaviour))
    return [scores_table(title, scored) for title, scored in kinds if scored]


def scores_table(title: str, scored: dict[str, dict[str, Score]]) -> Table:
    """Benchmarks, a row each: every model's score with its standard error, and student less teacher."""
    found = {model for scores in scored.values() for model in scores}
    models = [name for name in MODELS if name in found] + sorted(found - set(MODELS))
    rows = [
        (Cell(name), *(_score_cell(scores.get(model)) for model in models), *_difference_cells(scores))
        for name, scores in scored.items()
    ]
    return Table(title, ("benchmark", *models, "difference", "reading", "n"), tuple(rows))


def _score_cell(score: Score | None) -> Cell:
    if score is None:
        return _missing("not scored")
    note = f"± {words.fixed(score.stderr)}"
    return Cell(words.fixed(score.value), exact=repr(score.value), note=note, is_number=True)


def _difference_cells(scores: dict[str, Score]) -> Iterator[Cell]:
    found = difference(scores)
    counts = sorted({score.n for score in scores.values()})
    n = Cell(words.listed(map(words.number, counts)), exact=", ".join(map(str, counts)), is_number=True)
    if found is None:
        yield from (_missing("one of the two was not scored"), Cell("n/a"), n)
        return
    value = Cell(words.signed(found.value), repr(found.value), f"± {words.fixed(found.stderr)}", is_number=True)
    yield from (value, _reading(found), n)


def _reading(found: Difference) -> Cell:
    return Cell(found.reading)


def variants_summary(results: Results, found: Verdict) -> Table:
    """What became of every variant, a row each."""
    rows = []
    for name in results.variants:
        status = Cell("ships", tone="good") if name in found.shipped else Cell("does not ship", tone="bad")
        reason = found.left_out.get(name, "" if name in found.shipped else "the run is blocked")
        rows.append((Cell(name), status, Cell(reason)))
    return Table("What ships", ("variant", "verdict", "why"), tuple(rows))


def variant_table(results: Results, title: str) -> Table:
    """One group of the variants' figures, a variant a row; an absent variant is a row with its reason."""
    fields = VARIANT_TABLES[title]
    columns = [column for field in fields for column in _columns(field)]
    rows = [(Cell(name), *_variant_cells(found, fields, len(columns))) for name, found in results.variants.items()]
    return Table(title, ("variant", *columns), tuple(rows))


def _columns(field: str) -> list[str]:
    if field.endswith("_ms"):
        return [f"{words.label(field)}, {part}" for part in ("p50", "p95", "p99")]
    return [words.label(field)]


def _variant_cells(found: VariantFigures | VariantAbsent, fields: Sequence[str], width: int) -> Iterator[Cell]:
    if isinstance(found, VariantAbsent):
        yield Cell(f"not made: {found.reason}", span=width)
        return
    for field in fields:
        value = getattr(found, field)
        if isinstance(value, Percentiles):
            for part, number in value.model_dump().items():
                spread = found.intervals.get(f"{field}.{part}")
                yield _missing("too few samples") if number is None else measured(field, number, spread)
        else:
            yield measured(field, value, found.intervals.get(field))


def gates_table(gates: Iterable[GateResult]) -> Table:
    """Every gate, a row each, in the recipe's order."""
    rows = tuple(_gate_row(gate) for gate in gates)
    note = "A verdict is passed only where the whole interval, or the value where there is none, keeps to the limit."
    return Table("Gates", ("figure", "value", "limit", "if missed", "verdict"), rows, note)


def _gate_row(gate: GateResult) -> tuple[Cell, ...]:
    tone = {"passed": "good", "failed": "bad"}.get(gate.verdict, "unsure")
    value = _missing("nothing was measured")
    if gate.value is not None:
        text = gate_words.spelled(gate.value, gate.limit)
        value = Cell(text, repr(gate.value), gate_words.spelled_interval(gate.interval, gate.limit), is_number=True)
    name = Cell(gate_words.name(gate.figure), note=gate.figure)
    action = "keeps the variant out" if gate.figure.startswith("variants.") else "blocks"
    action = "warns" if gate.action == "warn" else action
    return name, value, Cell(gate.limit), Cell(action), Cell(gate.verdict, tone=tone)
