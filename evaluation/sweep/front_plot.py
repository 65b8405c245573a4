"""The Pareto plot of a sweep: quality of every variant of every run against what it costs."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report import words
from evaluation.report.plots import WIDTH_INCHES, Theme
from evaluation.report.variant_plots import name_points, scale_by_factors
from evaluation.sweep.comparison import COSTS, QUALITY, Comparison, Cost, VariantRow, variants

PANEL_INCHES = 2.8
AXES: dict[Cost, tuple[str, float]] = {
    "size_bytes": ("size on disk (MB, log scale)", 1e6),
    "inter_token_latency_p95_ms": ("time between tokens, p95 (ms, log scale)", 1.0),
    "peak_memory_bytes": ("peak memory (MB, log scale)", 1e6),
}
"""What is written at each panel's axis, and the unit's size."""
PLACES = ((6, 9), (6, -9), (-6, -9), (6, 20), (-6, -20), (6, 31), (-6, -31), (6, -20))
"""For a name beside its point: right of a front there is room, and below it."""


def fronts(found: Comparison, theme: Theme) -> Figure:
    """A panel a cost: what nothing beats in it is joined by a line and named, what does not ship is hollow.

    The darkest points are those that nothing beats in quality and all costs at once.
    """
    figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(COSTS)), layout="constrained")
    made = variants(found.runs)
    for axes, cost in zip(figure.subplots(len(COSTS), 1), COSTS, strict=True):
        _panel(axes, cost, made, found.fronts[cost], theme)
    figure.axes[0].legend(loc="lower left", bbox_to_anchor=(-0.2, 1.0), ncols=3, handletextpad=0.1, columnspacing=1.0)
    return figure


def _panel(axes: Axes, cost: Cost, made: dict[str, VariantRow], best: list[str], theme: Theme) -> None:
    name, scale = AXES[cost]
    costs = {label: getattr(one, cost) / scale for label, one in made.items()}
    quality = {label: one.bits_per_byte for label, one in made.items()}
    # A step: between two points of a front, the cheaper one is what there is. What only its interval keeps on the front
    # lies behind the line.
    edge = [one for place, one in enumerate(best) if all(quality[one] < quality[cheaper] for cheaper in best[:place])]
    axes.step([costs[one] for one in edge], [quality[one] for one in edge], where="post", color=theme.main, linewidth=1)
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {
        "nothing beats it": ([one for one in made if made[one].on_front], {"color": theme.main, "s": 40, "zorder": 3}),
        "ships": (
            [one for one in made if made[one].ships and not made[one].on_front],
            {"color": theme.second, "s": 28, "zorder": 3},
        ),
        "does not ship": (
            [one for one in made if not made[one].ships and not made[one].on_front],
            {"facecolors": theme.paper, "edgecolors": theme.muted, "s": 28, "zorder": 3},
        ),
    }
    spreads = {label: (_ends(one, cost, scale), _ends(one, QUALITY, 1.0)) for label, one in made.items()}
    for label, (across, up) in spreads.items():
        axes.plot(across, [quality[label]] * 2, color=theme.second, linewidth=1.2, zorder=1)
        axes.plot([costs[label]] * 2, up, color=theme.second, linewidth=1.2, zorder=1)
    for group, (labels, look) in groups.items():
        axes.scatter([costs[one] for one in labels], [quality[one] for one in labels], label=group, **look)
    best_quality, worst = (end(up[side] for _, up in spreads.values()) for side, end in enumerate((min, max)))
    room = max(worst - best_quality, 0.02 * worst)
    axes.set_ylim(best_quality - 0.2 * room, worst + 0.2 * room)
    low = min(across[0] for across, _ in spreads.values()) / 1.3
    high = 1.6 * max(across[1] for across, _ in spreads.values())
    scale_by_factors(axes, (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 5, 6, 8))
    axes.set_xlim(low, high)
    axes.set_xlabel(name)
    axes.set_ylabel("bits per byte")
    axes.grid()
    name_points(axes, costs, quality, named=best, places=PLACES)


def _ends(row: VariantRow, figure: str, scale: float) -> tuple[float, float]:
    """The interval of a figure; the value itself where it has none."""
    value = float(getattr(row, figure))
    low, high = row.intervals.get(figure, (value, value))
    return low / scale, high / scale


def seen(found: Comparison) -> str:
    """What the plot shows, in words."""
    made = variants(found.runs)
    panels = []
    for cost in COSTS:
        best = {name: made[name] for name in found.fronts[cost]}
        points = words.listed(
            f"{name} ({words.figure(cost, getattr(one, cost))}, {words.fixed(one.bits_per_byte)} bits per byte)"
            for name, one in best.items()
        )
        panels.append(f"{AXES[cost][0].partition(' (')[0]}: {points}")
    told = f"Scatter plots of bits per byte against a cost, {words.plural(len(made), 'variant')} in each"
    whole = f"Nothing beats in all of them at once: {words.listed(found.front)}."
    return f"{told}. Nothing beats, by {'; '.join(panels)}. {whole}"
