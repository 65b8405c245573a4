"""The results of a finished run in Prefect's UI."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_run_logger

from evaluation.report import findings, lineage, markdown, tables, variant_tables, words
from evaluation.report.lineage_diagram import mermaid
from evaluation.report.measure_words import measure
from evaluation.report.pictures import with_pictures_inside
from evaluation.results import Results, StageRecord
from stillhouse.store.artifact import Manifest, Reference
from stillhouse.store.store import Store
from tasks.artifacts import Board, current_run, one_try

_PATIENCE_SECONDS = 20.0
"""The work is done: a slow server may take its time over a page."""
_MOST_CHARACTERS = 450_000
"""Of one page. The server's database keeps it, and its UI reads it whole."""


def show_run(folder: Path) -> None:
    """Show a run's report with its plots, gates, lineage and package as artifacts of the current flow run."""
    _show(lambda: pages_of_run(folder), f"The results lie in {folder}")


def show_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Show the scores of an evaluation as a table."""
    _show(lambda: iter([scores_table(scores)]), "evaluation.json in the run's folder has the scores")


def _show(pages: Callable[[], Iterator[ArtifactCreate]], otherwise: str) -> None:
    """Put pages on the current flow run; whatever goes wrong with that is logged, for the work itself is done."""
    run = current_run()
    if run is None:
        return
    board = Board(partial(one_try, _PATIENCE_SECONDS))
    try:
        missed = [page.key for page in pages() if board.put(run, page) is None]
    except Exception:
        get_run_logger().warning("The results could not be shown here. %s", otherwise, exc_info=True)
        return
    if missed:
        names = words.listed(map(str, missed))
        get_run_logger().warning("The server did not take %s. %s", names, otherwise)


def pages_of_run(folder: Path) -> Iterator[ArtifactCreate]:
    """What a person wants to see of a finished run: report, gates, lineage, package."""
    results = Results.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
    yield _report(folder, results)
    yield _gates(results)
    yield _lineage(folder, results)
    yield _package(folder, results)


def _report(folder: Path, results: Results) -> ArtifactCreate:
    whole = folder.resolve() / "report.html"
    text = (folder / "report.md").read_text(encoding="utf-8")
    note = f"\n*The same as one HTML page, with sharper plots, on the machine that ran this: `{whole}`*\n"
    heading, _, rest = text.partition("\n")
    room = _MOST_CHARACTERS - len(heading) - len(note) - 1
    page = f"{heading}\n{note}{with_pictures_inside(rest, folder, most_characters=room)}"
    return _page(results, "report", "markdown", f"What was gained and lost, with plots. {_verdict(results)}", page)


def _gates(results: Results) -> ArtifactCreate:
    table = tables.gates_table(results.gates)
    rows = [
        {
            column: f"{cell.text} ({cell.note})" if cell.note else cell.text
            for column, cell in zip(table.columns, row, strict=True)
        }
        for row in table.rows
    ]
    return _page(results, "gates", "table", f"{_verdict(results)} {table.note}", json.dumps(rows))


def _lineage(folder: Path, results: Results) -> ArtifactCreate:
    manifests = _manifests(folder)
    records = [StageRecord(**{name: getattr(one, name) for name in StageRecord.model_fields}) for one in manifests]
    page = "\n\n".join(
        [
            f"# {_name(results)}: where it comes from",
            f"```mermaid\n{mermaid(manifests)}\n```",
            "A box is a stage with the artifacts it made, each by what it is about and the first characters of its "
            "key. An arrow is what a stage read; one that follows from others is left out. The table has them all.",
            markdown.as_markdown(lineage.stages_table(records)),
            f"`stillhouse explain {folder.resolve()}` says the same of data, code, machine and libraries.",
        ]
    )
    told = (
        f"{words.plural(len(manifests), 'artifact')} from teacher and data to the package, and what each was made of."
    )
    return _page(results, "lineage", "markdown", told, page)


def _manifests(folder: Path) -> list[Manifest]:
    """Of every artifact that the run names, in order."""
    store = Store(folder.resolve().parents[1] / "store")
    named = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return [store.manifest(reference) for entry in named if store.has(reference := Reference(**entry))]


def _package(folder: Path, results: Results) -> ArtifactCreate:
    found = findings.verdict(results)
    lines = [f"# {_name(results)}: {found.word}", markdown.escape(f"{_name(results)} {found.sentence}")]
    if results.package is None:
        lines.append("There is no package. The gates and the report say more.")
        told = "No package: a gate blocked it, or there was nothing to ship."
    else:
        path = folder.resolve() / results.package.path
        rows = {
            "path": f"`{path}`",
            "digest (SHA-256 over its files)": f"`{results.package.digest}`",
            "key in the store": f"`{results.package.key}`",
            "variants": ", ".join(results.package.variants),
        }
        lines.append("\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]))
        lines.append(
            f"Before it is served: `stillhouse verify {path}` checks every file against the digest, loads each variant "
            "and answers the smoke prompts."
        )
        told = f"{path}, sha256 {results.package.digest}: {words.listed(results.package.variants)}."
    if results.variants:
        table = variant_tables.summary_table(results, found)
        lines += ["## Variants", markdown.as_markdown(table), table.note]
    return _page(results, "package", "markdown", told, "\n\n".join(map(str, lines)))


def scores_table(scores: dict[str, dict[str, Any]]) -> ArtifactCreate:
    """A row for each measure of each model, and a row for each that could not be scored."""
    rows = []
    for model, found in scores.items():
        if "reason" in found:
            rows.append(_score_row(model, "not scored", found["reason"]))
        for section in ("capability", "behaviour"):
            for key, score in found.get(section, {}).items():
                measured = measure(section, key)
                value, spread = measured.value(score["value"]), measured.size(score["stderr"])
                rows.append(_score_row(model, measured.name, value, spread, score["n"]))
    told = f"Scores of {words.listed(scores)}. The standard error is over n documents."
    return ArtifactCreate(key="evaluation-scores", type="table", description=told, data=json.dumps(rows))


def _score_row(model: str, name: str, value: str, spread: str = "", n: int | None = None) -> dict[str, Any]:
    return {"model": model, "measure": name, "value": value, "standard error": spread, "n": n}


def _page(results: Results, about: str, kind: str, description: str, data: str) -> ArtifactCreate:
    """An artifact whose key has the recipe's name before it, so that the page of all artifacts sorts them by recipe."""
    key = f"{re.sub('[^a-z0-9]+', '-', _name(results).lower()).strip('-')}-{about}"
    return ArtifactCreate(key=key, type=kind, description=description, data=data)


def _name(results: Results) -> str:
    return str(results.lineage.recipe["name"])


def _verdict(results: Results) -> str:
    passed = sum(gate.verdict == "passed" for gate in results.gates)
    gates = words.plural(len(results.gates), "gate")
    return f"{_name(results)} {findings.verdict(results).word}; {passed} of {gates} passed."
