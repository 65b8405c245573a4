"""The plots of a report, one function each, as PNGs that do not differ between two runs over the same figures.

matplotlib's `Figure` is used directly: no pyplot, no global state, no display.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.report import words
from evaluation.results import StageRecord

# A telephone shows the page at some 360 points across: at this width a letter of 10 points is drawn as 12 pixels there.
WIDTH_INCHES = 4.0
DOTS_PER_INCH = 200
LABEL_POINTS = 9
MOST_NAMED_LAYERS = 12


@dataclass(frozen=True)
class Theme:
    """Colours of one appearance of the page."""

    paper: str
    ink: str
    muted: str
    grid: str
    main: str
    second: str
    third: str
    good: str
    bad: str
    unsure: str


LIGHT = Theme(
    "#ffffff", "#1d2530", "#5b6673", "#e3e7ec", "#2f6690", "#b9c4cf", "#c2703d", "#2e7d5b", "#b3423a", "#9a6b12"
)
DARK = Theme(
    "#171c22", "#e4e8ed", "#9aa6b2", "#2b333c", "#7fb2dc", "#5d6b7a", "#e0a070", "#6cc39b", "#e58a80", "#d9ab55"
)


def png(draw: Callable[[Theme], Figure], theme: Theme) -> bytes:
    """Draw a figure in a theme, as a PNG without the metadata that names matplotlib's version."""
    content = io.BytesIO()
    with styled(theme):
        draw(theme).savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Draw and save inside this block: matplotlib's defaults and the theme, whatever the user's own rc file says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.size": 10,
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
                "legend.fontsize": LABEL_POINTS,
                # Names come from recipes and may hold a dollar sign.
                "text.parse_math": False,
            }
        )
        yield


def loss_curves(history: Mapping[str, Any], theme: Theme) -> Figure:
    """Cross-entropy on training and validation text over steps, and below it what the teacher term does."""
    training, validation = history["training"], history["validation"]
    moving = _moving(training)
    figure = Figure(figsize=(WIDTH_INCHES, 4.4 + 1.2 * len(moving)), layout="constrained")
    heights = (3, 2, *(1 for _ in moving))
    upper, lower, *others = figure.subplots(2 + len(moving), 1, sharex=True, height_ratios=heights)
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
    teacher_losses = [row["teacher_loss"] for row in training]
    lower.plot(steps, teacher_losses, color=theme.main, linewidth=1, label="loss with the teacher")
    lower.plot(steps, [row["loss"] for row in training], color=theme.second, linewidth=1, label="loss, minimised")
    lower.set_ylabel("training loss\n(nats per token)")
    for axes in (upper, lower):
        axes.legend()
    for axes, (name, label) in zip(others, moving.items(), strict=True):
        axes.plot(steps, [row[name] for row in training], color=theme.third, linewidth=1)
        axes.set_ylabel(label)
    for axes in (upper, lower, *others):
        axes.grid(axis="y")
    last = others[-1] if others else lower
    last.set_xlabel("optimizer step")
    last.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _moving(training: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """What a training moves by, where it was not the same at every step, with what it is called."""
    names = {"alpha": "teacher's\nshare", "temperature": "temperature", "taid_t": "TAID's t"}
    names |= {"agreement": "top-1 agree-\nment", "learning_rate": "learning\nrate"}
    return {name: label for name, label in names.items() if len({row[name] for row in training if name in row}) > 1}


def layer_ranking(ranking: Mapping[str, Any], theme: Theme) -> Figure:
    """What the loss rises by without each layer, kept and dropped layers told apart by colour."""
    baseline, kept = ranking["baseline_loss"], set(ranking["kept"])
    rises = [loss - baseline for loss in ranking["loss_without_layer"]]
    highest = max((rise for rise in rises if math.isfinite(rise)), default=1.0)
    heights = [rise if math.isfinite(rise) else 2 * highest for rise in rises]
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), layout="constrained")
    axes = figure.subplots()
    for name, colour, chosen in (("kept", theme.main, True), ("dropped", theme.second, False)):
        layers = [index for index in range(len(heights)) if (index in kept) == chosen]
        axes.bar(layers, [heights[index] for index in layers], color=colour, width=0.75, label=name)
    smallest = min((abs(height) for height in heights if height), default=1.0)
    axes.set_yscale("symlog", linthresh=max(smallest, highest / 1000))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xticks(range(0, len(heights), max(1, math.ceil(len(heights) / MOST_NAMED_LAYERS))))
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("layer of the teacher")
    axes.set_ylabel("loss without it, above the\nwhole teacher's (nats, log scale)")
    axes.grid(axis="y")
    axes.legend(ncols=2, loc="upper right")
    return figure


def plate(theme: Theme) -> dict[str, Any]:
    """A background that keeps lines from running through a label."""
    return {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.0}


def stage_times(stages: Sequence[StageRecord], theme: Theme) -> Figure:
    """Wall time of every stage, in the order of the run."""
    names = stage_names(stages)
    figure = Figure(figsize=(WIDTH_INCHES, 0.5 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    seconds = [stage.seconds for stage in stages]
    axes.barh(range(len(names)), seconds, color=theme.main, height=0.65)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=LABEL_POINTS, labelcolor=theme.ink)
    axes.invert_yaxis()
    # Every bar says its own value, so the axis would only repeat them.
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, 2.1 * max(seconds, default=1.0) or 1.0)
    for position, stage in enumerate(stages):
        text = f"{words.duration(stage.seconds)}, {words.size(stage.peak_memory_bytes)}"
        middle = (stage.seconds, position)
        axes.annotate(
            text, middle, xytext=(4, 0), textcoords="offset points", verticalalignment="center", fontsize=LABEL_POINTS
        )
    return figure


def stage_names(stages: Sequence[StageRecord]) -> list[str]:
    """Names of the stages, numbered where one ran several times."""
    kinds = [stage.kind for stage in stages]
    return [
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: index + 1].count(kind)}"
        for index, kind in enumerate(kinds)
    ]
