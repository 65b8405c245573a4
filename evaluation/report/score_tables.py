"""The tables of capability and behaviour: a row a measure, a column a model, and student less teacher."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from evaluation.benchmark_files import POOLED, benchmark, known_benchmarks
from evaluation.report import words
from evaluation.report.differences import bounds, chance, difference, seen
from evaluation.report.measure_words import FAMILIES, MEANINGS, Measure, behaviour_measure, capability_measure, family
from evaluation.report.tables import MODELS, Cell, Table, missing
from evaluation.results import Contamination, Results, Score

ALONE_NOTE = "± is one standard error over documents."
COMPARED_NOTE = (
    f"{ALONE_NOTE} The difference is student less teacher; below it its 95% interval, from what both models answered. "
    "Where all documents differ alike there is none. p: how often chance alone sets two equal models so far apart; "
    "among all (Holm): with as many comparisons as the suite makes. Sees: the smallest true difference that so many "
    "documents show four times in five."
)
METRICS_NOTE = (
    "Below a benchmark: lm-eval's metric and the documents' licence. acc is the share answered rightly; acc_norm too, "
    "with each choice weighed by its length."
)
CONTAMINATION_NOTE = (
    "Trained on: documents of which half the passage or question stands in the training data, told by runs of 13 words."
)
Told = Mapping[str, Mapping[str, Any]]
"""`behaviour.json`: what is said of each measure."""


def scores_tables(results: Results, told: Told | None = None) -> list[Table]:
    """The table of capability, and one for each suite of behaviour, as far as they were scored."""
    tables = [capability_table(results.capability, results.contamination)] if results.capability else []
    said = _how(results.capability) if results.capability else ""
    # A suite that has no title here is shown under its own name.
    for suite in dict.fromkeys((*FAMILIES, *map(family, results.behaviour))):
        scored = {key: scores for key, scores in results.behaviour.items() if family(key) == suite}
        if scored:
            models, how = _models(scored), _how(scored)
            rows = tuple(_row(behaviour_measure(key), scores, models) for key, scores in scored.items())
            # What the table before it says of its intervals holds for this one too.
            note = f"{_meaning(suite, scored, told or {})} {'' if how == said else how}".strip()
            tables.append(_table(FAMILIES.get(suite, suite), "measure", models, rows, note=note))
            said = how
    return tables


def capability_table(
    scored: Mapping[str, dict[str, Score]], contamination: Mapping[str, Contamination] | None = None
) -> Table:
    """Benchmarks, a row each with metric, licence and what of it was trained on, and last all of them pooled."""
    ordered = {key: scored[key] for key in sorted(scored, key=lambda key: key == POOLED)}
    models = _models(scored)
    rows = []
    for key, scores in ordered.items():
        first, *others = _row(capability_measure(key), scores, models)
        rows.append((replace(first, note=_origin(key, contamination or {})), *others))
    looked = CONTAMINATION_NOTE if contamination else ""
    note = " ".join(filter(None, (METRICS_NOTE, looked, _how(scored), _sees(scored))))
    return _table("Capability", "benchmark", models, tuple(rows), note=note)


def _sees(scored: Mapping[str, dict[str, Score]]) -> str:
    """What all documents together can show."""
    scores = scored.get(POOLED, {})
    found = difference(scores)
    if found is None or found.p_value is None:
        return ""
    told = seen(capability_measure(POOLED), found, scores["student"].n)
    return f"{told[0].upper()}{told[1:]}, pooled."


def _origin(key: str, contamination: Mapping[str, Contamination]) -> str:
    """Metric and licence of a benchmark, where they are known, and how much of it stands in the training data."""
    if key not in known_benchmarks():
        return ""
    file = benchmark(key)
    found = contamination.get(key)
    trained_on = "" if found is None else f", trained on: {found.found} of {found.documents}"
    return f"{file.metric}, {file.licence}{trained_on}"


def _table(title: str, head: str, models: list[str], rows: tuple[tuple[Cell, ...], ...], *, note: str) -> Table:
    compared = ("difference", "reading") if _compares(models) else ()
    return Table(title, (head, *models, *compared, "n"), rows, note)


def _models(scored: Mapping[str, Mapping[str, Score]]) -> list[str]:
    found = {model for scores in scored.values() for model in scores}
    return [name for name in MODELS if name in found] + sorted(found - set(MODELS))


def _compares(models: list[str]) -> bool:
    return "teacher" in models and "student" in models


def _row(one: Measure, scores: dict[str, Score], models: list[str]) -> tuple[Cell, ...]:
    counts = sorted({score.n for score in scores.values()})
    n = Cell(
        words.listed(map(words.number, counts)), ", ".join(map(str, counts)), _smallest(one, scores), is_number=True
    )
    cells = [_score_cell(one, scores.get(model)) for model in models]
    compared = _difference_cells(one, scores) if _compares(models) else ()
    return Cell(one.name, note=one.direction), *cells, *compared, n


def _score_cell(one: Measure, score: Score | None) -> Cell:
    if score is None:
        return missing("not scored")
    # A standard error of 0 is none: all documents were answered alike, or nobody worked one out.
    note = f"± {one.size(score.stderr)}" if score.stderr else ""
    return Cell(one.value(score.value), repr(score.value), note=note, is_number=True)


def _difference_cells(one: Measure, scores: dict[str, Score]) -> Iterator[Cell]:
    found = difference(scores)
    if found is None:
        yield from (missing("not compared"), Cell("n/a"))
        return
    unit = f" {one.difference_unit}".rstrip()
    text = one.difference(found.value) + unit
    yield Cell(text, repr(found.value), bounds(one, found), is_number=True)
    yield Cell(found.reading, note=chance(found))


def _smallest(one: Measure, scores: Mapping[str, Score]) -> str:
    found = difference(scores)
    if found is None or found.minimum_detectable is None:
        return ""
    return f"sees {one.size(found.minimum_detectable)} {one.difference_unit}".rstrip()


def _how(scored: Mapping[str, dict[str, Score]]) -> str:
    """How the differences of a table are to be read."""
    return COMPARED_NOTE if any(map(difference, scored.values())) else ALONE_NOTE


def _meaning(suite: str, scored: Mapping[str, dict[str, Score]], told: Told) -> str:
    """What the measures of a suite say, and where they come from."""
    licences = sorted({str(told[key]["licence"]) for key in scored if told.get(key, {}).get("licence")})
    origin = f"Licence: {', '.join(licences)}." if licences else ""
    return " ".join(part for part in (MEANINGS.get(suite, ""), origin) if part)
