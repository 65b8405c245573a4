"""Which plots a report has, each with its caption, and how they are drawn for light and dark pages."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.report import seen
from evaluation.results import Results, VariantFigures
from evaluation.waterfall import Waterfall, waterfall

_BARS = (
    "A bar goes from what the step before left to what this one leaves; the line in it is the interval of the change. "
    "Grey: not called a change."
)
CAPTIONS = {
    "loss": (
        "Above: loss on training text, and on validation text, which no step learned from. Below: the loss that "
        "training minimises, and the teacher's part of it as the recipe's temperature scales it; and what moved."
    ),
    "layers": "How much worse the whole teacher predicts training text without each of its layers.",
    "waterfall_quality": f"Predictions: what each step cost (red) or gained (green). {_BARS}",
    "waterfall_benchmarks": f"Right answers over all benchmarks together; each one stands in the table. {_BARS}",
    "waterfall_cost": f"What it takes to serve: size, slow tokens and memory. {_BARS}",
    "variants": "Quality of every variant against what it costs: better is lower, and left above, right below.",
    "memory": "What each variant takes on disk, and in memory while it generates.",
    "latency": "Median times by length of the prompt. A line through a dot is its 95% interval.",
    "gates": "Room between each value and its limit, as a share of the limit. A bar is a 95% interval.",
    "fronts": (
        "Every variant of every run: quality against a cost, with 95% intervals; better is lower and further left. "
        "What no other variant beats in both for certain is joined by a line, and named by its run and variant; the "
        "darkest are what none beats in quality and all costs at once."
    ),
    "stages": "Wall time and peak memory of each stage when its artifact was made.",
}


@dataclass(frozen=True)
class Drawing:
    """A plot to be drawn."""

    name: str
    seen: str
    """What it shows, in words."""
    draw: Callable[[Any], Any]
    """Gives the figure in a theme."""


@dataclass(frozen=True)
class Plot:
    """A plot, drawn for both appearances of the page."""

    name: str
    seen: str
    light: bytes
    """PNG, the same as `plots/NAME.png`."""
    dark: bytes
    """PNG, only inside the page."""

    @property
    def caption(self) -> str:
        """What the plot is about and how it is read."""
        return CAPTIONS[self.name]

    def data(self, appearance: str) -> str:
        """The image as a data URI."""
        content = self.dark if appearance == "dark" else self.light
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def draw(drawings: list[Drawing], folder: Path) -> dict[str, Plot]:
    """Draw every plot for the light page and for the dark one, and save the light ones; by name."""
    from evaluation.report import plots

    folder.mkdir()
    drawn = {}
    for drawing in drawings:
        light, dark = (plots.png(drawing.draw, theme) for theme in (plots.LIGHT, plots.DARK))
        (folder / f"{drawing.name}.png").write_bytes(light)
        drawn[drawing.name] = Plot(drawing.name, drawing.seen, light, dark)
    return drawn


def drawings(results: Results, ranking: dict[str, Any] | None, history: dict[str, Any] | None) -> list[Drawing]:
    """The plots that there are figures for."""
    from evaluation.report import margins, plots

    found = []
    if history and history["validation"]:
        found.append(Drawing("loss", seen.loss_curves(history), partial(plots.loss_curves, history)))
    if ranking:
        found.append(Drawing("layers", seen.layer_ranking(ranking), partial(plots.layer_ranking, ranking)))
    found += _of_steps(waterfall(results))
    found += _of_variants({name: one for name, one in results.variants.items() if isinstance(one, VariantFigures)})
    if any(gate.value is not None for gate in results.gates):
        found.append(Drawing("gates", seen.gate_margins(results.gates), partial(margins.gate_margins, results.gates)))
    if stages := results.lineage.stages:
        found.append(Drawing("stages", seen.stage_times(stages), partial(plots.stage_times, stages)))
    return found


def _of_steps(found: Waterfall) -> list[Drawing]:
    """A waterfall for each group of metrics that was measured."""
    from evaluation.report import waterfall_plots, waterfall_tables

    groups = [group for group in waterfall_tables.TITLES if any(fall.group == group for fall in found.falls)]
    return [
        Drawing(
            f"waterfall_{group}", waterfall_tables.seen(found, group), partial(waterfall_plots.waterfalls, found, group)
        )
        for group in groups
    ]


def _of_variants(made: Mapping[str, VariantFigures]) -> list[Drawing]:
    from evaluation.report import variant_plots as plots

    if not made:
        return []
    found = [
        Drawing("variants", seen.quality_against_cost(made), partial(plots.quality_against_cost, made)),
        Drawing("memory", seen.size_and_memory(made), partial(plots.size_and_memory, made)),
    ]
    if plots.prompt_lengths(made):
        found.append(Drawing("latency", seen.latency_by_prompt(made), partial(plots.latency_by_prompt, made)))
    return found
