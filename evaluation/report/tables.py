"""Tables of report and model card: rows of cells, each with its shown text and its exact value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evaluation.report import gate_words, words
from evaluation.results import GateResult, Interval, ModelFigures, Results

MODELS: tuple[Literal["teacher", "pruned", "student"], ...] = ("teacher", "pruned", "student")


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
    models: dict[str, ModelFigures] = {name: results.models[name] for name in MODELS if name in results.models}
    # Those that taught the student stand before it.
    student = models.pop("student", None)
    models |= results.before | ({} if student is None else {"student": student})
    names = list(models)
    fields = [
        field
        for field in ModelFigures.model_fields
        if field != "intervals" and any(getattr(found, field) is not None for found in models.values())
    ]
    rows = [
        (Cell(words.label(field)), *(_model_cell(name, found, field) for name, found in models.items()))
        for field in fields
    ]
    note = "Below a figure: its 95% interval, bootstrapped over documents. Loss: how badly text is predicted."
    if results.tokens_differ:
        note += (
            " The student's tokens are others than the teacher's: a loss per token is of different things, KL and "
            "top-1 agreement do not exist between two vocabularies, and only bits per byte compare the two."
        )
    elif "teacher" in names:
        note += (
            " KL: how far predictions are from the teacher's, 0 is the same; top-1: the most likely token is the same."
        )
    return Table("Held-out text", ("", *names), tuple(rows), note)


def _model_cell(name: str, figures: ModelFigures, field: str) -> Cell:
    value = getattr(figures, field)
    if value is None:
        return missing("the reference" if name == "teacher" else "not measured in this run")
    return measured(field, value, figures.intervals.get(field))


def measured(name: str, value: float, spread: Interval | None = None) -> Cell:
    """A cell with the figure `name`, in its unit."""
    return Cell(words.figure(name, value), exact=repr(value), note=words.interval(name, spread), is_number=True)


def missing(reason: str) -> Cell:
    """A cell without a figure, and why."""
    return Cell("n/a", note=reason, is_number=True)


def gates_table(gates: Iterable[GateResult]) -> Table:
    """Every gate, a row each, in the recipe's order."""
    rows = tuple(_gate_row(gate) for gate in gates)
    note = (
        "Below a value: its bounds, each holding at the gate's confidence (95% if none is told). A verdict is passed "
        "only where they keep to the limit, or the value of a size, time or count that has none; a score or a figure "
        "of held-out text without bounds is no evidence. Documents that would decide: four times in five, were the "
        "value the true one."
    )
    return Table("Gates", ("figure", "value", "limit", "if missed", "verdict"), rows, note)


def _gate_row(gate: GateResult) -> tuple[Cell, ...]:
    tone = {"passed": "good", "failed": "bad"}.get(gate.verdict, "unsure")
    value = missing("nothing was measured")
    if gate.value is not None:
        text = gate_words.spelled(gate.value, gate.limit)
        bounds = gate_words.spelled_interval(gate.interval, gate.limit)
        sure = "" if not bounds or gate.confidence in (None, 0.95) else f", at {100 * gate.confidence:g}%"
        value = Cell(text, repr(gate.value), bounds + sure, is_number=True)
    name = Cell(gate_words.name(gate.figure), note=gate.figure)
    action = "keeps the variant out" if gate.figure.startswith("variants.") else "blocks"
    action = "warns" if gate.action == "warn" else action
    return name, value, Cell(gate.limit), Cell(action), Cell(gate.verdict, note=gate_words.settled_by(gate), tone=tone)
