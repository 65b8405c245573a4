"""The report of a run: one HTML file, the same in Markdown, and their plots."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.report import (
    cost_table,
    domain_tables,
    drawings,
    findings,
    gains,
    generations,
    limits,
    lineage,
    markdown,
    methods,
    page,
    score_tables,
    start_words,
    tables,
    variant_scores,
    variant_tables,
    waterfall_tables,
    words,
)
from evaluation.results import Results, StageRecord
from evaluation.waterfall import waterfall
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Inputs

HERE = Path(__file__).parent
HTML, MARKDOWN = "report.html.jinja", "report.md.jinja"


class ReportSettings(Settings):
    """What the report is called."""

    name: str
    """The recipe's name."""


def write_report(settings: ReportSettings, inputs: Inputs, folder: Path) -> None:
    """Write `report.html`, `report.md`, and in `plots/` the PNGs that the latter shows.

    Inputs are `results` (`results.json`) and, as far as there are any, `pruned` (`ranking.json` of a student pruned by
    depth, `widths.json` of one pruned by width), `student` (`history.json`), and `behaviour_<model>`
    (`generations.json`, `behaviour.json`).
    What there is no file for is left out.
    """
    results = Results.model_validate_json((inputs["results"] / "results.json").read_text(encoding="utf-8"))
    ranking = _read(inputs, "pruned", "ranking.json")
    history = _read(inputs, "student", "history.json")
    plots = drawings.draw(drawings.drawings(results, ranking, history), folder / "plots")
    told = _read(inputs, "behaviour_student", "behaviour.json")
    written = {model: _read(inputs, f"behaviour_{model}", generations.FILE) for model in tables.MODELS}
    shown = _view(settings.name, results) | {
        "scores": [*domain_tables.domains_tables(results), *score_tables.scores_tables(results, told)],
        "methods": methods.methods(results, told),
        "readings": generations.readings({model: rows for model, rows in written.items() if rows}),
        "ranking": ranking,
        "layers": _layers(ranking),
        "narrowed": start_words.narrowed(_read(inputs, "pruned", "widths.json")),
        "plots": plots,
    }
    if history:
        shown["limits"] += limits.of_training(history)
    if history and history.get("say"):
        shown["lineage"].append(lineage.say_table(history["say"], results.lineage.recipe))
    for template, environment in ((HTML, page.environment(HERE)), (MARKDOWN, markdown.environment(HERE))):
        text = environment.get_template(template).render(shown)
        (folder / template.removesuffix(".jinja")).write_text(text, encoding="utf-8")


def _read(inputs: Inputs, name: str, file: str) -> Any:
    """Content of a JSON file beside the results; None where there is none."""
    path = inputs[name] / file if name in inputs else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else None


def _view(name: str, results: Results) -> dict[str, Any]:
    """Everything that both templates show of the results alone."""
    found = findings.verdict(results)
    origin = results.lineage
    compared = "teacher" in results.models or any("teacher" in scores for scores in results.capability.values())
    return {
        "name": name,
        "results": results,
        "verdict": found,
        "tiles": list(findings.tiles(results, found)),
        "gained": list(gains.gained(results)),
        "lost": list(gains.lost(results)),
        "variants_lost": list(gains.variants_lost(results)),
        "models": tables.models_table(results) if results.models else None,
        "summary": variant_tables.summary_table(results, found) if results.variants else None,
        "waterfall": waterfall_tables.waterfall_tables(waterfall(results), results),
        **_variants(results),
        "gates": tables.gates_table(results.gates),
        "stages": lineage.stages_table(origin.stages),
        "data": lineage.data_table(origin.data),
        "lineage": [table for table in _lineage(results, compared) if table.rows],
        "cost": list(_cost(origin.stages)),
        "limits": list(limits.limits(results)),
        "words": words,
    }


def _variants(results: Results) -> dict[str, list[tables.Table]]:
    """The tables of variants: those that one reads, and those that one looks up."""
    if not results.variants:
        return {"variants": [], "folded": []}
    latency = variant_tables.latency_tables(results)
    compared = cost_table.cost_table(results)
    scores = variant_scores.variant_scores_table(results)
    read = [*variant_tables.candidates_tables(results), variant_tables.quality_table(results)]
    read += [scores] if scores else []
    batches = variant_tables.batch_tables(results)
    return {
        "variants": [*([compared] if compared else []), *latency[:1], *read],
        "folded": [*latency[1:], *batches, variant_tables.machine_table(results)],
    }


def _lineage(results: Results, compared: bool) -> list[tables.Table]:
    origin = results.lineage
    return [
        lineage.left_out_table(origin.left_out),
        *([lineage.facts_table("Responses to the training prompts", origin.responses)] if origin.responses else []),
        lineage.facts_table("Teacher" if compared else "Model", origin.teacher),
        *(lineage.facts_table(f"Other teacher: {one.get('source')}", one) for one in origin.other_teachers),
        lineage.facts_table("Machine and libraries", origin.environment),
        lineage.facts_table("Code and compute", {**origin.code, "seed": str(origin.seed), **origin.compute}),
    ]


def _layers(ranking: dict[str, Any] | None) -> dict[str, str]:
    """Kept and dropped layers, as a sentence lists them."""
    if ranking is None:
        return {}
    kept = ranking["kept"]
    dropped = [layer for layer in range(len(ranking["loss_without_layer"])) if layer not in kept]
    return {
        "kept": words.listed(map(str, kept)),
        "dropped": words.listed(map(str, dropped)),
        "why": start_words.dropped(ranking.get("method", "drop_one")),
    }


def _cost(stages: Sequence[StageRecord]) -> Iterator[str]:
    """What the whole run took."""
    if not stages:
        yield "No stage was recorded."
        return
    whole = sum(stage.seconds for stage in stages)
    yield f"{words.plural(len(stages), 'stage')} took {words.duration(whole)} in all."
    longest = max(stages, key=lambda stage: stage.seconds)
    share = words.percent(longest.seconds / whole if whole else 1.0)
    yield f"The longest was {longest.kind}: {words.duration(longest.seconds)}, {share} of the whole."
    largest = max(stages, key=lambda stage: stage.peak_memory_bytes)
    yield f"The highest peak memory was {words.size(largest.peak_memory_bytes)}, in {largest.kind}."
