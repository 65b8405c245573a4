"""The table of what each variant answered from its own bytes: benchmarks, and their difference to torch-fp32."""

from evaluation.benchmark_files import POOLED
from evaluation.report import words
from evaluation.report.differences import bounds, of_score
from evaluation.report.gains import REFERENCE
from evaluation.report.measure_words import Measure, capability_measure
from evaluation.report.tables import Cell, Table, missing
from evaluation.results import Results, Score, VariantFigures

NOTE = (
    f"Each variant answers from its own bytes. Below a score: what sets it off {REFERENCE} on the same documents, with "
    "its 95% interval; no interval where all documents differ alike. A difference stands without a doubt beside "
    "it: all of a variant's benchmarks together do not explain it (Holm)."
)
BATCH_NOTE = "Batch: the most that an answer's log-probability moves when others are asked beside it, in nats."


def variant_scores_table(results: Results) -> Table | None:
    """Benchmarks, a row each, and a column each variant that was scored; `None` where none was."""
    scored = {
        name: found
        for name, found in results.variants.items()
        if isinstance(found, VariantFigures) and found.capability
    }
    if not scored:
        return None
    keys = dict.fromkeys(key for found in scored.values() for key in found.capability)
    rows = [_row(key, scored) for key in sorted(keys, key=lambda key: key == POOLED)]
    rows.append((Cell("batch"), *map(_batch_cell, scored.values()), Cell("")))
    return Table("Benchmarks by variant", ("benchmark", *scored, "n"), tuple(rows), f"{NOTE} {BATCH_NOTE}")


def _row(key: str, scored: dict[str, VariantFigures]) -> tuple[Cell, ...]:
    one = capability_measure(key)
    scores = [found.capability.get(key) for found in scored.values()]
    counts = sorted({score.n for score in scores if score is not None})
    n = Cell(words.listed(map(words.number, counts)), is_number=True)
    return Cell(one.name, note=one.direction), *(_cell(one, score) for score in scores), n


def _cell(one: Measure, score: Score | None) -> Cell:
    if score is None:
        return missing("not scored")
    return Cell(one.value(score.value), repr(score.value), note=_beside(one, score), is_number=True)


def _beside(one: Measure, score: Score) -> str:
    """The difference to torch-fp32 in words; empty for torch-fp32 itself."""
    found = of_score(score)
    if found is None:
        return ""
    apart, spread = one.difference(found.value), bounds(one, found)
    if not spread:
        return apart
    return f"{apart} ({spread}){f', {found.doubt}' if found.doubt else ''}"


def _batch_cell(found: VariantFigures) -> Cell:
    moved = found.batch_dependence_nats
    return missing("not measured") if moved is None else Cell(f"{moved:.1e}", repr(moved), is_number=True)
