"""What a student that was trained round by round kept of each domain."""

from collections.abc import Iterator

from evaluation.forgetting import RATIO
from evaluation.report import words
from evaluation.report.tables import Cell, Table, measured, missing
from evaluation.results import DomainFigures, Results


def domains_tables(results: Results) -> list[Table]:
    """The matrix of losses, a row a data set and a column a student; no table where the route is not continual."""
    if not results.domains:
        return []
    students = list(next(iter(results.domains.values())).loss_nats_per_token)
    rows = tuple(_row(name, found, students) for name, found in results.domains.items())
    note = (
        "Held-out loss in nats per token, set by set: of the start, and of the student after each round. The last "
        "ratio is the last student's loss over that right after the set's own round: above 1 it forgot."
    )
    columns = ("data set", "came in round", *students, "last over own round", "documents")
    return [Table("What was kept of each domain", columns, rows, note)]


def forgotten(results: Results) -> Iterator[str]:
    """One sentence a data set that rounds came after."""
    for name, found in results.domains.items():
        if (ratio := found.loss_ratio_to_own_round) is None:
            continue
        bounds = found.intervals.get(RATIO)
        spread = "" if bounds is None else f" ({_percents(bounds[0] - 1)}{words.TO}{_percents(bounds[1] - 1)})"
        yield (
            f"{name}, learned in round {found.round}: after the last round its held-out loss differs by "
            f"{_percents(ratio - 1)}{spread} from what it was after its own."
        )


def _percents(share: float) -> str:
    return f"{100 * share:+.1f}%".replace("-", words.MINUS)


def _row(name: str, found: DomainFigures, students: list[str]) -> tuple[Cell, ...]:
    ratio, bounds = found.loss_ratio_to_own_round, found.intervals.get(RATIO)
    last = missing("no round came after")
    if ratio is not None:
        note = "" if bounds is None else f"{words.fixed(bounds[0])}{words.TO}{words.fixed(bounds[1])}"
        last = Cell(words.fixed(ratio), repr(ratio), note, is_number=True)
    losses = (found.loss_nats_per_token[student] for student in students)
    return (
        Cell(name),
        Cell(str(found.round), is_number=True),
        *(Cell(words.fixed(loss), repr(loss), is_number=True) for loss in losses),
        last,
        measured("documents", found.documents),
    )
