"""The report of a run: one HTML file, the same in Markdown, and their plots."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.report import findings, limits, lineage, markdown, tables, words
from evaluation.results import Results, StageRecord, VariantFigures
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Inputs

CAPTIONS = {
    "loss": (
        "Above: cross-entropy on training text, and on validation text, which no step learned from. Below: the loss "
        "that training minimises, and its KL part as the recipe's temperature scales it."
    ),
    "layers": "How much worse the whole teacher predicts training text without each of its layers.",
    "variants": "Quality of every variant against what it costs. A vertical line is a 95% interval.",
    "gates": "Room between each value and its limit, as a share of the limit. A bar is a 95% interval.",
    "stages": "Wall time and peak memory of each stage when its artifact was made.",
}
HERE = Path(__file__).parent
HTML, MARKDOWN, STYLE = "report.html.jinja", "report.md.jinja", "style.css.jinja"


class ReportSettings(Settings):
    """What the report is called."""

    name: str
    """The recipe's name."""


@dataclass(frozen=True)
class Drawing:
    """A plot to be drawn."""

    name: str
    caption: str
    draw: Callable[[Any], Any]
    """Gives the figure in a theme."""


@dataclass(frozen=True)
class Plot:
    """A plot, drawn for both appearances of the page."""

    name: str
    """`plots/NAME.png` for the light page, `plots/NAME-dark.png` for the dark one."""
    caption: str
    light: bytes
    dark: bytes

    def data(self, appearance: str) -> str:
        """The image as a data URI."""
        content = self.dark if appearance == "dark" else self.light
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def write_report(settings: ReportSettings, inputs: Inputs, folder: Path) -> None:
    """Write `report.html`, `report.md` and `plots/*.png`.

    Inputs are `results` (`results.json`), `pruned` (`ranking.json`, where the student was pruned by depth) and
    `student` (`history.json`); a plot whose file is missing is left out.
    """
    results = Results.model_validate_json((inputs["results"] / "results.json").read_text(encoding="utf-8"))
    ranking = _read(inputs, "pruned", "ranking.json")
    history = _read(inputs, "student", "history.json")
    plots = {plot.name: plot for plot in _draw(_drawings(results, ranking, history), folder / "plots")}
    shown = _view(settings.name, results) | {"ranking": ranking, "layers": _layers(ranking), "plots": plots}
    for template, environment in ((HTML, _html()), (MARKDOWN, markdown.environment(HERE))):
        text = environment.get_template(template).render(shown)
        (folder / template.removesuffix(".jinja")).write_text(text, encoding="utf-8")


def _read(inputs: Inputs, name: str, file: str) -> dict[str, Any] | None:
    path = inputs[name] / file if name in inputs else None
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else None


def _html() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["style"] = Markup((HERE / STYLE).read_text(encoding="utf-8"))
    return environment


def _view(name: str, results: Results) -> dict[str, Any]:
    """Everything that both templates show."""
    found = findings.verdict(results)
    origin = results.lineage
    return {
        "name": name,
        "results": results,
        "verdict": found,
        "tiles": list(findings.tiles(results, found)),
        "gained": list(findings.gained(results)),
        "lost": list(findings.lost(results)),
        "ships": tables.variants_summary(results, found),
        "models": tables.models_table(results),
        "scores": tables.scores_tables(results),
        "scores_note": tables.SCORES_NOTE,
        "variants": [tables.variant_table(results, title) for title in tables.VARIANT_TABLES],
        "gates": tables.gates_table(results.gates),
        "stages": lineage.stages_table(origin.stages),
        "data": lineage.data_table(origin.data),
        "lineage": [
            lineage.facts_table("Teacher", origin.teacher),
            lineage.facts_table("Machine and libraries", origin.environment),
            lineage.facts_table("Code and compute", {**origin.code, "seed": str(origin.seed), **origin.compute}),
        ],
        "cost": list(_cost(origin.stages)),
        "limits": list(limits.limits(results)),
        "words": words,
    }


def _layers(ranking: dict[str, Any] | None) -> dict[str, str]:
    """Kept and dropped layers, as a sentence lists them."""
    if ranking is None:
        return {}
    kept = ranking["kept"]
    dropped = [layer for layer in range(len(ranking["loss_without_layer"])) if layer not in kept]
    return {"kept": words.listed(map(str, kept)), "dropped": words.listed(map(str, dropped))}


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


def _draw(drawings: list[Drawing], folder: Path) -> list[Plot]:
    """Draw and save every plot, once for the light page and once for the dark one."""
    from evaluation.report import plots

    folder.mkdir()
    drawn = []
    for drawing in drawings:
        images = []
        for theme, file in ((plots.LIGHT, f"{drawing.name}.png"), (plots.DARK, f"{drawing.name}-dark.png")):
            with plots.styled(theme):
                plots.save(drawing.draw(theme), folder / file)
            images.append((folder / file).read_bytes())
        drawn.append(Plot(drawing.name, drawing.caption, *images))
    return drawn


def _drawings(results: Results, ranking: dict[str, Any] | None, history: dict[str, Any] | None) -> list[Drawing]:
    """The plots that there are figures for."""
    from evaluation.report import margins, plots

    stages = results.lineage.stages
    made = any(isinstance(found, VariantFigures) for found in results.variants.values())
    decided = any(gate.value is not None for gate in results.gates)
    found = [
        history and Drawing("loss", CAPTIONS["loss"], partial(plots.loss_curves, history)),
        ranking and Drawing("layers", CAPTIONS["layers"], partial(plots.layer_ranking, ranking)),
        made and Drawing("variants", CAPTIONS["variants"], partial(plots.quality_against_cost, results.variants)),
        decided and Drawing("gates", CAPTIONS["gates"], partial(margins.gate_margins, results.gates)),
        stages and Drawing("stages", CAPTIONS["stages"], partial(plots.stage_times, stages)),
    ]
    return [drawing for drawing in found if drawing]
