"""What each variant costs beside `torch-fp32`, and which differences are more than the machine's own noise."""

from evaluation.report import words
from evaluation.report.gains import REFERENCE
from evaluation.report.noise_words import NOTE, are_apart, floor_row
from evaluation.report.tables import Cell, Table, missing
from evaluation.results import Costs, NoiseFloor, Results, VariantFigures
from evaluation.separation import measured

SMALLER, LESS, FASTER = ("smaller", "larger"), ("less", "more"), ("faster", "slower")
FIGURES = {
    "size_bytes": ("size on disk", SMALLER),
    "peak_memory_bytes": ("peak memory", LESS),
    "load_seconds": ("load", FASTER),
    "cold_start_seconds": ("cold start", FASTER),
    "warm_start_seconds": ("warm start", FASTER),
    "time_to_first_token_ms.p50": ("time to first token", FASTER),
    "inter_token_latency_ms.p50": ("time between tokens", FASTER),
    "inter_token_latency_ms.p95": ("time between tokens, p95", FASTER),
}
"""By path within a variant: its name, and what lower and higher are called."""
UNTOLD = "no difference"


def cost_table(results: Results) -> Table | None:
    """Every variant's costs over those of `torch-fp32`; `None` where there is nothing to compare."""
    reference = results.variants.get(REFERENCE)
    others: dict[str, Costs] = {
        name: found
        for name, found in results.variants.items()
        if isinstance(found, VariantFigures) and name != REFERENCE
    }
    if results.teacher_costs is not None:
        others = {"teacher": results.teacher_costs} | others
    if not isinstance(reference, VariantFigures) or not others:
        return None
    paths = [path for path in FIGURES if measured(reference, path) is not None]
    rows = [
        (Cell(name), *(_cell(found, reference, path, results.noise_floor) for path in paths))
        for name, found in others.items()
    ]
    rows += floor_row(results.noise_floor, paths)
    note = (
        f"Each figure over {REFERENCE}'s; below 1 is better. No difference: the two 95% intervals meet, or the figures "
        "are no further apart than the noise floor."
    )
    if results.noise_floor is not None:
        note += f" {NOTE}"
    return Table(f"Cost beside {REFERENCE}", ("variant", *(FIGURES[path][0] for path in paths)), tuple(rows), note)


def _cell(found: Costs, reference: Costs, path: str, noise: NoiseFloor | None) -> Cell:
    own, its = measured(found, path), measured(reference, path)
    if own is None or its is None:
        return missing("not measured")
    ratio = own.value / its.value
    lower, higher = FIGURES[path][1]
    apart = are_apart(found, reference, path, noise)
    word = UNTOLD if not apart else lower if ratio < 1 else higher
    tone = "" if not apart else "good" if ratio < 1 else "bad"
    return Cell(words.factor(ratio), exact=repr(ratio), note=word, tone=tone, is_number=True)
