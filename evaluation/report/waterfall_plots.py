"""Where quality went, drawn: a row a step, a bar from what the metric was before it to what it was after."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.report.plots import LABEL_POINTS, WIDTH_INCHES, Theme
from evaluation.report.waterfall_tables import difference, is_better, name_of, shown, value
from evaluation.waterfall import Fall, Group, Step, Waterfall

ROW_INCHES = 0.28
_SCALES = {"size_bytes": 1e6, "peak_memory_bytes": 1e6}
_UNITS = {
    "size_bytes": "MB",
    "peak_memory_bytes": "MB",
    "inter_token_latency_ms.p95": "ms",
    "kl_to_teacher_nats_per_token": "nats per token",
    "kl_to_fp32": "nats per token",
    "held_out_loss_nats_per_token": "nats per token",
}


def waterfalls(found: Waterfall, group: Group, theme: Theme) -> Figure:
    """A panel for each metric of a group that is drawn."""
    falls = shown(found, group)
    rows = [[step for step in found.steps if step.name == fall.first or step.name in fall.changes] for fall in falls]
    heights = [ROW_INCHES * len(each) + 0.75 for each in rows]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
    panels = figure.subplots(len(falls), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, fall, steps in zip(panels, falls, rows, strict=True):
        _panel(axes, fall, steps, theme)
    return figure


def _panel(axes: Axes, fall: Fall, steps: list[Step], theme: Theme) -> None:
    scale = 100.0 if fall.group == "benchmarks" else 1 / _SCALES.get(fall.metric, 1.0)
    names = [step.name for step in steps]
    for row, name in enumerate(names):
        _row(axes, fall, (row, name), scale, theme)
        for later, other in enumerate(names[row + 1 :], row + 1):
            if other in fall.changes and fall.changes[other].since == name:
                # From where a step ends to where the next one begins.
                axes.plot([scale * fall.total(name)] * 2, [row, later], color=theme.grid, linewidth=1, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=LABEL_POINTS, labelcolor=theme.ink)
    ends = [scale * end for name in names for end in _ends(fall, name)]
    reach = max(ends) - min(ends) or abs(ends[0]) or 1.0
    # Room for the label behind the longest bar.
    axes.set_xlim(min(ends) - 0.06 * reach, max(ends) + 0.55 * reach)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    axes.tick_params(axis="x", labelsize=LABEL_POINTS)
    axes.spines["left"].set_visible(False)
    unit = "%" if fall.group == "benchmarks" else _UNITS.get(fall.metric, "")
    title = f"{name_of(fall)} ({unit})" if unit else name_of(fall)
    axes.set_title(title, loc="left", fontsize=10, color=theme.ink)


def _ends(fall: Fall, name: str) -> list[float]:
    """How far a step's bar and its interval reach."""
    change = fall.changes.get(name)
    if change is None:
        return [fall.start]
    before = fall.total(change.since)
    return [before, fall.total(name), *(before + bound for bound in change.interval or ())]


def _row(axes: Axes, fall: Fall, place: tuple[int, str], scale: float, theme: Theme) -> None:
    """One step: its bar with its interval, and the change in figures."""
    row, name = place
    after = scale * fall.total(name)
    change = fall.changes.get(name)
    if change is None:
        axes.plot([after], [row], "o", color=theme.ink, markersize=5)
        text, right = value(fall, fall.start), after
    else:
        before = scale * fall.total(change.since)
        right = scale * max(_ends(fall, name))
        colour = theme.second if not change.differs else theme.good if is_better(fall, change) else theme.bad
        axes.barh(row, after - before, left=before, height=0.6, color=colour, zorder=2)
        if change.interval is not None:
            spread = [before + scale * bound for bound in change.interval]
            axes.plot(spread, [row] * 2, color=theme.ink, linewidth=1, zorder=3)
        text = difference(fall, change.value)
    axes.annotate(text, (right, row), (4, 0), textcoords="offset points", va="center", fontsize=LABEL_POINTS)
