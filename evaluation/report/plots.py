"""The plots of a report, one function each, as PNGs that do not differ between two runs over the same figures.

matplotlib's `Figure` is used directly: no pyplot, no global state, no display.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.report import words
from evaluation.results import StageRecord, VariantAbsent, VariantFigures

WIDTH_INCHES = 5.2
DOTS_PER_INCH = 180
MOST_NAMED_LAYERS = 40


@dataclass(frozen=True)
class Theme:
    """Colours of one appearance of the page."""

    paper: str
    ink: str
    muted: str
    grid: str
    main: str
    second: str
    good: str
    bad: str
    unsure: str


LIGHT = Theme("#ffffff", "#1d2530", "#5b6673", "#e3e7ec", "#2f6690", "#b9c4cf", "#2e7d5b", "#b3423a", "#9a6b12")
DARK = Theme("#171c22", "#e4e8ed", "#9aa6b2", "#2b333c", "#7fb2dc", "#5d6b7a", "#6cc39b", "#e58a80", "#d9ab55")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without the metadata that names matplotlib's version."""
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None}, facecolor=figure.get_facecolor())


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Draw and save inside this block: matplotlib's defaults and the theme, whatever the user's own rc file says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 9,
                "text.color": theme.ink,
                "axes.labelcolor": theme.muted,
                "axes.edgecolor": theme.grid,
                "axes.facecolor": theme.paper,
                "figure.facecolor": theme.paper,
                "xtick.color": theme.muted,
                "ytick.color": theme.muted,
                "grid.color": theme.grid,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "legend.frameon": False,
                "legend.fontsize": 8,
                # Names come from recipes and may hold a dollar sign.
                "text.parse_math": False,
            }
        )
        yield


def loss_curves(history: Mapping[str, Any], theme: Theme) -> Figure:
    """Cross-entropy on training and validation text over steps, and below it what the teacher term does."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    training, validation = history["training"], history["validation"]
    steps = [row["step"] for row in training]
    entropies = [row["cross_entropy"] for row in training]
    upper.plot(steps, entropies, color=theme.second, linewidth=1, label="training text")
    upper.plot(
        [row["step"] for row in validation],
        [row["loss"] for row in validation],
        color=theme.main,
        marker="o",
        markersize=4,
        label="validation text",
    )
    if history.get("teacher_validation_loss") is not None:
        teacher = history["teacher_validation_loss"]
        upper.axhline(teacher, color=theme.ink, linestyle=(0, (4, 3)), linewidth=1, label="teacher, validation text")
    upper.set_ylabel("cross-entropy\n(nats per token)")
    lower.plot(steps, [row["kl"] for row in training], color=theme.main, linewidth=1, label="KL to the teacher")
    lower.plot(steps, [row["loss"] for row in training], color=theme.second, linewidth=1, label="loss, minimised")
    lower.set_ylabel("training loss\n(nats per token)")
    lower.set_xlabel("optimizer step")
    for axes in (upper, lower):
        axes.grid(axis="y")
        axes.legend()
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def layer_ranking(ranking: Mapping[str, Any], theme: Theme) -> Figure:
    """What the loss rises by without each layer, kept and dropped layers told apart by colour."""
    baseline, kept = ranking["baseline_loss"], set(ranking["kept"])
    rises = [loss - baseline for loss in ranking["loss_without_layer"]]
    highest = max((rise for rise in rises if math.isfinite(rise)), default=1.0)
    heights = [rise if math.isfinite(rise) else 2 * highest for rise in rises]
    figure = Figure(figsize=(WIDTH_INCHES, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, colour, chosen in (("kept", theme.main, True), ("dropped", theme.second, False)):
        layers = [index for index in range(len(heights)) if (index in kept) == chosen]
        axes.bar(layers, [heights[index] for index in layers], color=colour, width=0.75, label=name)
    smallest = min((abs(height) for height in heights if height), default=1.0)
    axes.set_yscale("symlog", linthresh=max(smallest, highest / 1000))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    step = 1 if len(heights) <= MOST_NAMED_LAYERS else math.ceil(len(heights) / 20)
    axes.set_xticks(range(0, len(heights), step))
    axes.tick_params(axis="x", labelsize=6.5, length=0)
    axes.set_xlabel("layer of the teacher")
    axes.set_ylabel("loss without it, above the whole\nteacher (nats per token, log scale)")
    axes.grid(axis="y")
    axes.legend(ncols=2, loc="upper right")
    return figure


def quality_against_cost(variants: Mapping[str, VariantFigures | VariantAbsent], theme: Theme) -> Figure:
    """Bits per byte of every variant against its size, and against its decoding speed."""
    made = {name: found for name, found in variants.items() if isinstance(found, VariantFigures)}
    figure = Figure(figsize=(WIDTH_INCHES, 5.2), layout="constrained")
    left, right = figure.subplots(2, 1)
    sizes = {name: found.size_bytes / 1e6 for name, found in made.items()}
    speeds = {name: found.decode_tokens_per_second for name, found in made.items()}
    _scatter(left, sizes, made, theme)
    _scatter(right, speeds, made, theme)
    left.set_xlabel("size on disk (MB), less is better")
    right.set_xlabel("decoding (tokens/s), more is better")
    for axes in (left, right):
        axes.set_ylabel("bits per byte,\nless is better")
    return figure


def _scatter(axes: Axes, cost: Mapping[str, float], made: Mapping[str, VariantFigures], theme: Theme) -> None:
    quality = {name: found.bits_per_byte for name, found in made.items()}
    for name, found in made.items():
        low, high = found.intervals.get("bits_per_byte", (found.bits_per_byte, found.bits_per_byte))
        axes.plot([cost[name]] * 2, [low, high], color=theme.second, linewidth=1.5, zorder=1)
    axes.scatter(list(cost.values()), list(quality.values()), color=theme.main, s=36, zorder=2)
    axes.set_xlim(0, 1.3 * max(cost.values()))
    axes.margins(y=0.25)
    axes.grid()
    for place, names in enumerate(sorted(_clusters(cost, quality), key=lambda names: cost[names[0]])):
        # Above and below in turn: neighbours of one quality would write over each other.
        axes.annotate(
            ", ".join(names),
            (cost[names[0]], quality[names[0]]),
            xytext=(6, 9 if place % 2 else -9),
            textcoords="offset points",
            verticalalignment="center",
            fontsize=8,
            bbox=plate(theme),
        )


def plate(theme: Theme) -> dict[str, Any]:
    """A background that keeps lines from running through a label."""
    return {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.0}


def _clusters(cost: Mapping[str, float], quality: Mapping[str, float]) -> list[list[str]]:
    """Names whose points would lie on top of each other, which then share one label."""
    width = max(cost.values()) or 1.0
    height = (max(quality.values()) - min(quality.values())) or 1.0
    clusters: list[list[str]] = []
    for name in cost:
        near = (
            group
            for group in clusters
            if abs(cost[group[0]] - cost[name]) < 0.05 * width and abs(quality[group[0]] - quality[name]) < 0.1 * height
        )
        found = next(near, None)
        if found is None:
            clusters.append([name])
        else:
            found.append(name)
    return clusters


def stage_times(stages: Sequence[StageRecord], theme: Theme) -> Figure:
    """Wall time of every stage, in the order of the run."""
    names = stage_names(stages)
    figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots()
    seconds = [stage.seconds for stage in stages]
    axes.barh(range(len(names)), seconds, color=theme.main, height=0.65)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=8, labelcolor=theme.ink)
    axes.invert_yaxis()
    # Every bar says its own value, so the axis would only repeat them.
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, 1.5 * max(seconds, default=1.0) or 1.0)
    for position, stage in enumerate(stages):
        text = f"{words.duration(stage.seconds)}, {words.size(stage.peak_memory_bytes)}"
        middle = (stage.seconds, position)
        axes.annotate(text, middle, xytext=(4, 0), textcoords="offset points", verticalalignment="center", fontsize=7.5)
    return figure


def stage_names(stages: Sequence[StageRecord]) -> list[str]:
    """Names of the stages, numbered where one ran several times."""
    kinds = [stage.kind for stage in stages]
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: index + 1].count(kind)}"
        for index, kind in enumerate(kinds)
    ]
