"""The plot of gates: how much room each value leaves to its limit."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from evaluation.report import gate_words
from evaluation.report.plots import LABEL_POINTS, WIDTH_INCHES, Theme, plate
from evaluation.results import GateResult

FAR = 1.0
"""A gate's room beyond this share of its limit is drawn at the edge."""


def gate_margins(gates: Sequence[GateResult], theme: Theme) -> Figure:
    """Room that every gate's value leaves to its limit, as a share of the limit; left of zero it is broken."""
    drawn = [gate for gate in gates if gate.value is not None and gate_words.limit_number(gate.limit) is not None]
    figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.5 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    colours = {"passed": theme.good, "failed": theme.bad, "insufficient evidence": theme.unsure}
    for row, gate in enumerate(drawn):
        colour = colours[gate.verdict]
        ends = [_room(gate, end) for end in (*(gate.interval or ()), gate.value) if end is not None]
        low, high = min(ends), max(ends)
        axes.plot([low, high], [row, row], color=colour, linewidth=2, alpha=0.5, solid_capstyle="butt")
        axes.plot([_room(gate, gate.value or 0.0)], [row], "o", color=colour, markersize=6)
        where: dict[str, Any] = {
            "xycoords": axes.get_yaxis_transform(),
            "xytext": (0, 8),
            "textcoords": "offset points",
        }
        axes.annotate(_told(gate), (0, row), fontsize=LABEL_POINTS, bbox=plate(theme), **where)
    axes.axvline(0, color=theme.muted, linewidth=1.3, zorder=1)
    axes.set_xlim(-1.05 * FAR, 1.05 * FAR)
    axes.set_ylim(len(drawn) - 0.7, -0.85)
    axes.set_yticks([])
    axes.set_xticks([-0.95, -0.5, 0, 0.5, 0.95], ["beyond\nby 100%", "50%", "limit", "50%", "100%\nto spare"])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure


def _told(gate: GateResult) -> str:
    """What the gate is about, and its verdict where that is not `passed`: colour alone does not tell everybody."""
    name = gate_words.name(gate.figure)
    return name if gate.verdict == "passed" else f"{name}: {gate.verdict}"


def _room(gate: GateResult, value: float) -> float:
    """Signed distance to the limit as a share of it, cut off at the plot's edges."""
    limit, distance = gate_words.limit_number(gate.limit) or 0.0, gate_words.room(gate.limit, value) or 0.0
    # A limit of zero has no share of its own; the value's size takes its place.
    scale = abs(limit) or max(map(abs, gate.interval or (value,))) or 1.0
    return max(-FAR, min(FAR, distance / scale))
