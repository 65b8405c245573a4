"""The Pareto plot of a sweep: quality of every variant of every run against what it costs."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report import words
from evaluation.report.plots import WIDTH_INCHES, Theme
from evaluation.report.variant_plots import name_points, scale_by_factors
from evaluation.sweep.comparison import COSTS, Comparison, Cost, VariantRow, variants

PANEL_INCHES = 2.8
AXES: dict[Cost, tuple[str, float]] = {
    "size_bytes": ("size on disk (MB, log scale)", 1e6),
    "inter_token_latency_ms": ("time between tokens (ms, log scale)", 1.0),
    "peak_memory_bytes": ("peak memory (MB, log scale)", 1e6),
}
"""What is written at each panel's axis, and the unit's size."""
PLACES = ((6, 9), (6, -9), (-6, -9), (6, 20), (-6, -20), (6, 31), (-6, -31), (6, -20))
"""For a name beside its point: right of a front there is room, and below it."""


def fronts(found: Comparison, theme: Theme) -> Figure:
    """A panel a cost: what nothing beats is joined by a line and named, what does not ship is hollow."""
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
    # A step: between two points of a front, the cheaper one is what there is.
    axes.step([costs[one] for one in best], [quality[one] for one in best], where="post", color=theme.main, linewidth=1)
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {
        "nothing beats it": (best, {"color": theme.main, "s": 40, "zorder": 3}),
        "ships": ([one for one in made if made[one].ships and one not in best], {"color": theme.second, "s": 28}),
        "does not ship": (
            [one for one in made if not made[one].ships and one not in best],
            {"facecolors": "none", "edgecolors": theme.muted, "s": 28},
        ),
    }
    for group, (labels, look) in groups.items():
        axes.scatter([costs[one] for one in labels], [quality[one] for one in labels], label=group, **look)
    best_quality, worst = min(quality.values()), max(quality.values())
    room = max(worst - best_quality, 0.02 * worst)
    axes.set_ylim(best_quality - 0.35 * room, worst + 0.35 * room)
    low, high = min(costs.values()) / 1.3, 1.6 * max(costs.values())
    scale_by_factors(axes, (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 5, 6, 8))
    axes.set_xlim(low, high)
    axes.set_xlabel(name)
    axes.set_ylabel("bits per byte")
    axes.grid()
    name_points(axes, costs, quality, named=best, places=PLACES)


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
    return f"{told}. Nothing beats, by {'; '.join(panels)}."
