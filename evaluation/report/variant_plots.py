"""The plots of the variants: what each costs, and what it is worth."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from matplotlib.transforms import ScaledTranslation

from evaluation.report import words
from evaluation.report.plots import LABEL_POINTS, WIDTH_INCHES, Theme
from evaluation.results import Speed, VariantFigures

Variants = Mapping[str, VariantFigures]
ROW_INCHES = 0.3
PANEL_POINTS = 245
DOT_POINTS = 3.5
PLACES = tuple((aside, rise) for rise in (-9, 9, -20, 20, -31, 31) for aside in (6, -6))
"""Where a name may stand beside its point, in points to the right and up, the best place first."""
FAR_POINTS = 9
"""From further away a line leads to the point."""


def quality_against_cost(variants: Variants, theme: Theme) -> Figure:
    """Bits per byte of every variant against its size, and against its decoding speed."""
    figure = Figure(figsize=(WIDTH_INCHES, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    _scatter(upper, {name: found.size_bytes / 1e6 for name, found in variants.items()}, variants, theme)
    _scatter(lower, {name: found.decode_tokens_per_second for name, found in variants.items()}, variants, theme)
    upper.set_xlabel("size on disk (MB), less is better")
    lower.set_xlabel("decoding (tokens/s), more is better")
    for axes in (upper, lower):
        axes.set_ylabel("bits per byte, less is better")
    return figure


def _scatter(axes: Axes, cost: Mapping[str, float], variants: Variants, theme: Theme) -> None:
    quality = {name: found.bits_per_byte for name, found in variants.items()}
    axes.scatter(list(cost.values()), list(quality.values()), color=theme.main, s=36, zorder=2)
    low, high = min(quality.values()), max(quality.values())
    room = max(high - low, 0.02 * high)
    axes.set_ylim(low - 0.35 * room, high + 0.35 * room)
    axes.set_xlim(0, 1.15 * max(cost.values()))
    axes.grid()
    name_points(axes, cost, quality, named=list(cost))


def name_points(
    axes: Axes,
    cost: Mapping[str, float],
    quality: Mapping[str, float],
    *,
    named: Sequence[str],
    places: Sequence[tuple[int, int]] = PLACES,
) -> None:
    """Write the names of some points beside them, where they lie on no other name and no point."""
    # In points, as a panel of this width and height comes out.
    share = axes.transData + axes.transAxes.inverted()
    points = {name: tuple(share.transform((cost[name], quality[name])) * (230, 125)) for name in cost}
    taken = [(x - DOT_POINTS, x + DOT_POINTS, y - DOT_POINTS, y + DOT_POINTS) for x, y in points.values()]
    for name in sorted(named, key=lambda name: cost[name]):
        x, y = points[name]
        width = 0.57 * LABEL_POINTS * len(name)
        boxes = {place: _box(x + place[0], y + place[1], width, place[0] > 0) for place in places}
        inside = [place for place in places if boxes[place][0] >= 0]
        place = next((one for one in inside if _is_free(boxes[one], taken)), inside[0])
        taken.append(boxes[place])
        if abs(place[1]) > FAR_POINTS:
            _lead(axes, (cost[name], quality[name]), place)
        axes.annotate(
            name,
            (cost[name], quality[name]),
            xytext=place,
            textcoords="offset points",
            verticalalignment="center",
            horizontalalignment="left" if place[0] > 0 else "right",
            fontsize=LABEL_POINTS,
        )


def _lead(axes: Axes, point: tuple[float, float], place: tuple[int, int]) -> None:
    """Draw a thin line from a point to its name, which stands nearer to another one."""
    # matplotlib's types name less than it takes: what scales the point may be a logarithm too.
    moved = ScaledTranslation(*point, axes.transData)  # type: ignore[arg-type]
    inches = axes.figure.dpi_scale_trans + moved
    ends = [[0, one / 72] for one in place]
    axes.plot(*ends, transform=inches, color=axes.xaxis.label.get_color(), linewidth=0.6, zorder=1)


def _box(x: float, y: float, width: float, is_right: bool) -> tuple[float, float, float, float]:
    left = x if is_right else x - width
    return left, left + width, y - 0.6 * LABEL_POINTS, y + 0.6 * LABEL_POINTS


def _is_free(box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]) -> bool:
    left, right, low, high = box
    apart = (right < other[0] or other[1] < left or high < other[2] or other[3] < low for other in taken)
    return right < PANEL_POINTS and all(apart)


def size_and_memory(variants: Variants, theme: Theme) -> Figure:
    """Size on disk and peak memory of every variant, a bar each; of the memory, what the imports hold set apart."""
    figure = Figure(figsize=(WIDTH_INCHES, 1.5 + 2 * ROW_INCHES * len(variants)), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    sizes = [found.size_bytes for found in variants.values()]
    peaks = [found.peak_memory_bytes for found in variants.values()]
    above = [found.peak_memory_above_imports_bytes for found in variants.values()]
    _bars(upper, list(variants), sizes, theme)
    _bars(lower, list(variants), peaks, theme)
    imports = [peak - rest for peak, rest in zip(peaks, above, strict=True)]
    lower.barh(range(len(imports)), imports, color=theme.second, height=0.62, label="held by Python and libraries")
    upper.set_title("size on disk", loc="left", fontsize=10, color=theme.ink)
    lower.set_title("peak memory", loc="left", fontsize=10, color=theme.ink)
    lower.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.02))
    return figure


def _bars(axes: Axes, names: Sequence[str], values_bytes: Sequence[int], theme: Theme) -> None:
    axes.barh(range(len(names)), values_bytes, color=theme.main, height=0.62)
    _name_rows(axes, names, theme)
    # Every bar says its own value, so the axis would only repeat them.
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, 1.4 * max(values_bytes))
    for row, value in enumerate(values_bytes):
        axes.annotate(
            words.size(value), (value, row), (4, 0), textcoords="offset points", va="center", fontsize=LABEL_POINTS
        )


def _name_rows(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=LABEL_POINTS, labelcolor=theme.ink)
    axes.set_ylim(len(names) - 0.5, -0.5)


def latency_by_prompt(variants: Variants, theme: Theme) -> Figure:
    """Median time to first token and between tokens of every variant, a dot a prompt length, intervals as lines."""
    lengths = prompt_lengths(variants)
    figure = Figure(figsize=(WIDTH_INCHES, 2.1 + 2 * 1.25 * ROW_INCHES * len(variants)), layout="constrained")
    panels = figure.subplots(2, 1)
    titles = {"time_to_first_token_ms": "time to first token", "inter_token_latency_ms": "time between tokens"}
    for axes, (field, title) in zip(panels, titles.items(), strict=True):
        for place, length in enumerate(lengths):
            _dots(axes, variants, (field, place, length), theme)
        _name_rows(axes, list(variants), theme)
        scale_by_factors(axes)
        axes.grid(axis="x")
        axes.set_title(f"{title} (ms, log scale)", loc="left", fontsize=10, color=theme.ink)
    panels[1].set_xlabel("median; less is better")
    panels[0].legend(
        loc="lower left", bbox_to_anchor=(-0.35, 1.12), ncols=len(lengths), title="prompt tokens", handletextpad=0.1,
        columnspacing=1.0, title_fontsize=LABEL_POINTS, alignment="left",
    )  # fmt: skip
    return figure


def scale_by_factors(axes: Axes, marks: Sequence[float] = (1, 2, 5)) -> None:
    """Make the horizontal axis logarithmic, with marks at these numbers, their tenfold and so on."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=marks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.minorticks_off()


def prompt_lengths(variants: Variants) -> list[int]:
    """Every prompt length that some variant was timed at, in order."""
    return sorted({int(length) for found in variants.values() for length in found.by_prompt_tokens})


def _dots(axes: Axes, variants: Variants, what: tuple[str, int, int], theme: Theme) -> None:
    """Draw one latency after prompts of one length, a variant a row."""
    field, place, length = what
    colour = (theme.second, theme.main, theme.third)[place % 3]
    marker = "oDs^v"[place % 5]
    rows = {row: found.by_prompt_tokens[str(length)] for row, found in enumerate(variants.values())
            if str(length) in found.by_prompt_tokens}  # fmt: skip
    # Beside each other within a row: medians of several lengths are often the same.
    heights = [row + 0.22 * (place - 1) for row in rows]
    for height, speed in zip(heights, rows.values(), strict=True):
        axes.plot(_spread(speed, field), [height] * 2, color=colour, linewidth=2, alpha=0.7, solid_capstyle="butt")
    medians = [getattr(speed, field).p50 for speed in rows.values()]
    axes.plot(medians, heights, marker, color=colour, markersize=5, label=words.number(length))


def _spread(speed: Speed, field: str) -> list[float]:
    median = getattr(speed, field).p50
    low, high = speed.intervals.get(f"{field}.p50", (median, median))
    # A logarithmic axis has no place for zero.
    return [max(low, math.ulp(1.0)), high]
