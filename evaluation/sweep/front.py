"""Pareto fronts: what is left when everything is gone that something else beats."""

from collections.abc import Mapping


def front(points: Mapping[str, tuple[float, ...]]) -> tuple[str, ...]:
    """Names of the points that no other point beats, in the order of their first number.

    Args:
        points: What each costs, in several ways at once; less is better in all of them.

    Returns:
        Points that are equal in everything stand beside each other: neither beats the other.
    """
    kept = [name for name, own in points.items() if not any(_beats(other, own) for other in points.values())]
    return tuple(sorted(kept, key=lambda name: points[name]))


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether one is nowhere worse than the other, and somewhere better."""
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))
