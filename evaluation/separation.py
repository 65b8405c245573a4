"""When two measured figures may be called different: their intervals separate, by more than the machine's own noise.

Two 95% intervals that do not meet are a stricter test than one interval of the difference that leaves zero out
(Schenker and Gentleman, 2001, The American Statistician 55, 182-186): some differences are passed over, and few are
made up. It needs nothing but what `results.json` holds of either variant.
"""

from dataclasses import dataclass

from evaluation.results import Costs, Interval, NoiseFloor, Speed


@dataclass(frozen=True)
class Measured:
    """A figure as it may be compared: its value, and how sure that is."""

    value: float
    interval: Interval | None = None
    """95%; `None` where there is none, as of a size."""


def differ(one: Measured, other: Measured, floor: float = 0.0) -> bool:
    """Say whether two figures of one kind may be called different.

    Args:
        one: A figure of one variant.
        other: The same of another.
        floor: By which factor above 1 a variant differs from itself.
    """
    low, high = sorted((one, other), key=lambda each: each.value)
    ends_at = low.value if low.interval is None else low.interval[1]
    begins_at = high.value if high.interval is None else high.interval[0]
    return ends_at < begins_at and high.value > (1 + floor) * low.value


def measured(figures: Costs | Speed, path: str) -> Measured | None:
    """Look a figure up with its interval, as `load_seconds` or `inter_token_latency_ms.p95`; `None` without a value."""
    name, _, part = path.partition(".")
    value = getattr(figures, name)
    if value is not None and part:
        value = getattr(value, part)
    return None if value is None else Measured(float(value), figures.intervals.get(path))


def floor_of(noise: NoiseFloor | None, path: str) -> float:
    """The noise floor of a figure, by its path within a variant; 0 where none was measured, as for a size."""
    return 0.0 if noise is None else noise.relative.get(path, 0.0)
