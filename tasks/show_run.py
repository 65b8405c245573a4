"""The results of a finished run in Prefect's UI."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect.client.schemas.actions import ArtifactCreate
from prefect.logging import get_run_logger

from evaluation.report import findings, markdown, tables, words
from evaluation.report.lineage_diagram import lineage_list, mermaid
from evaluation.report.measure_words import measure
from evaluation.report.pictures import with_pictures_inside
from evaluation.results import Results, VariantFigures
from stillhouse.store.artifact import Manifest, Reference
from stillhouse.store.store import Store
from tasks.artifacts import MOST_CHARACTERS, Board, current_run, key_of, one_try

_PATIENCE_SECONDS = 20.0
"""The work is done: a slow server may take its time over a page."""


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
    note = f"\n*The same as one HTML page, on the machine that ran this: `{whole}`*\n"
    heading, _, rest = text.partition("\n")
    room = MOST_CHARACTERS - len(heading) - len(note) - 1
    page = f"{heading}\n{note}{with_pictures_inside(rest, folder, most_characters=room)}"
    told = f"{_name(results)} {_verdict(results)}: what was gained and lost, with plots."
    return _page(results, "report", told, [page])


def _gates(results: Results) -> ArtifactCreate:
    """Every gate with its verdict, in words that fit a narrow page; the report's table has more of each."""
    unmet = [gate for gate in results.gates if gate.verdict != "passed"]
    page = [
        f"# {_name(results)}: {_passed(results)}",
        "\n".join(f"- Not passed ({gate.action}s): {markdown.escape(findings.why(gate))}." for gate in unmet),
        markdown.as_markdown(_narrow_gates(results)),
        tables.gates_table(()).note,
    ]
    return _page(results, "gates", f"{_passed(results)}: {_name(results)} {_verdict(results)}", page)


def _narrow_gates(results: Results) -> tables.Table:
    rows = []
    for gate, (figure, value, limit, *_) in zip(results.gates, tables.gates_table(results.gates).rows, strict=True):
        # The spaces of the interval do not break in the report; here they have to.
        value = tables.Cell(value.text, note=value.note.replace("\u00a0", " "))
        rows.append((tables.Cell(figure.text), tables.Cell(gate.verdict), value, limit))
    return tables.Table("Gates", ("gate", "verdict", "value", "limit"), tuple(rows))


def _lineage(folder: Path, results: Results) -> ArtifactCreate:
    manifests = _manifests(folder)
    page = [
        f"# {_name(results)}: where it comes from",
        f"```mermaid\n{mermaid(manifests)}\n```",
        "A box is a stage with what it made: each artifact by what it is about and the first characters of its key. "
        "An arrow is what a stage read; one that follows from others is left out. The list has them all.",
        "## Every artifact and what it was made of",
        "\n".join(lineage_list(manifests)),
        f"`stillhouse explain {folder.resolve()}` tells of data, code, machine and libraries too.",
    ]
    told = f"{words.plural(len(manifests), 'artifact')}, from teacher and data on, and what each was made of."
    return _page(results, "lineage", told, page)


def _manifests(folder: Path) -> list[Manifest]:
    """Of every artifact that the run names, in order."""
    store = Store(folder.resolve().parents[1] / "store")
    named = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return [store.manifest(reference) for entry in named if store.has(reference := Reference(**entry))]


def _package(folder: Path, results: Results) -> ArtifactCreate:
    found = findings.verdict(results)
    page = [f"# {_name(results)}: {found.word}", markdown.escape(f"{_name(results)} {found.sentence}")]
    if results.package is None:
        page.append("There is no package. The gates and the report say more.")
        return _page(results, "package", f"None: {_name(results)} {_verdict(results)}", page)
    path = folder.resolve() / results.package.path
    page += [
        # A block scrolls by itself, where a long word in a table would widen a narrow page.
        f"```text\n{path}\n\nSHA-256 over its files:\n{results.package.digest}\n```",
        f"Before it is served, `stillhouse verify {path} --digest {words.short(results.package.digest)}` checks every "
        "file and that it is this package, loads each variant and answers the smoke prompts.",
        "## Variants",
        markdown.as_markdown(_narrow_summary(results)),
    ]
    number = words.plural(len(results.package.variants), "variant")
    told = f"{number} in {path}, SHA-256 {words.short(results.package.digest)}"
    return _page(results, "package", told, page)


def _narrow_summary(results: Results) -> tables.Table:
    """What each variant in the package costs and is worth, in few columns; the report has the rest."""
    fields = ("size_bytes", "decode_tokens_per_second", "bits_per_byte")
    rows = [
        (tables.Cell(name), *(tables.measured(field, getattr(figures, field)) for field in fields))
        for name, figures in results.variants.items()
        if isinstance(figures, VariantFigures) and results.package and name in results.package.variants
    ]
    return tables.Table("Variants", ("variant", *map(words.label, fields)), tuple(rows))


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


def _page(results: Results, about: str, description: str, parts: Sequence[object]) -> ArtifactCreate:
    """An artifact whose key has the recipe's name before it, so that the page of all artifacts sorts them by recipe."""
    key = key_of(_name(results), about)
    text = "\n\n".join(str(part) for part in parts if str(part))
    return ArtifactCreate(key=key, type="markdown", description=description, data=text)


def _name(results: Results) -> str:
    return str(results.lineage.recipe["name"])


def _passed(results: Results) -> str:
    """How many gates passed."""
    passed = sum(gate.verdict == "passed" for gate in results.gates)
    return f"{passed} of {words.plural(len(results.gates), 'gate')} passed"


def _verdict(results: Results) -> str:
    """`ships in part`, `is blocked`: a verdict as the end of a sentence."""
    word = findings.verdict(results).word
    return word if word.startswith("ships") else f"is {word}" if word == "blocked" else f"was {word}"
