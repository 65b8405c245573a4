"""The Pareto plot of a sweep: quality of every variant of every run against what it costs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.report import words
from evaluation.report.plots import WIDTH_INCHES, Theme
from evaluation.report.variant_plots import name_points
from evaluation.sweep.comparison import COSTS, Comparison, Cost, VariantRow, variants

PANEL_INCHES = 2.8
AXES: dict[Cost, tuple[str, float]] = {
    "size_bytes": ("size on disk (MB)", 1e6),
    "inter_token_latency_ms": ("time between tokens (ms, median)", 1.0),
    "peak_memory_bytes": ("peak memory (MB)", 1e6),
}
"""What is written at each panel's axis, and the unit's size."""


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
    groups = {
        "nothing beats it": (best, {"color": theme.main, "s": 40, "zorder": 3}),
        "ships": ([one for one in made if made[one].ships and one not in best], {"color": theme.second, "s": 28}),
        "does not ship": (
            [one for one in made if not made[one].ships and one not in best],
            {"facecolors": "none", "edgecolors": theme.muted, "s": 28},
        ),
    }
    for group, (labels, look) in groups.items():
        axes.scatter([costs[one] for one in labels], [quality[one] for one in labels], label=group, **look)
    low, high = min(quality.values()), max(quality.values())
    room = max(high - low, 0.02 * high)
    axes.set_ylim(low - 0.35 * room, high + 0.35 * room)
    axes.set_xlim(0, 1.15 * max(costs.values()))
    axes.set_xlabel(f"{name}, less is better")
    axes.set_ylabel("bits per byte,\nless is better")
    axes.grid()
    name_points(axes, costs, quality, named=best)


def seen(found: Comparison) -> str:
    """What the plot shows, in words."""
    panels = []
    made = variants(found.runs)
    for cost in COSTS:
        points = (
            f"{one} ({words.figure(cost, getattr(made[one], cost))}, {words.fixed(made[one].bits_per_byte)} bits per byte)"
            for one in found.fronts[cost]
        )
        panels.append(f"{AXES[cost][0].partition(' (')[0]}: {words.listed(points)}")
    return f"Scatter plots of bits per byte against a cost, {len(made)} variants in each. Nothing beats, {'; '.join(panels)}."
