"""Pareto fronts: what is left when everything is gone that something else beats for certain.

One beats another only where it is nowhere worse as measured, and somewhere better beyond doubt: the intervals separate
there, by more than the noise floor. So a lead that chance or the machine may have made removes nothing. That a figure
must not be worse as measured keeps the rule free of circles: of what was measured, something always stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.separation import Measured, differ


@dataclass(frozen=True)
class Contender:
    """What something costs, in several ways at once; less is better in all of them."""

    figures: tuple[Measured, ...]
    floors: tuple[float, ...]
    """Noise floor of each figure where this one was measured, by which factor above 1; 0 for none."""


def front(contenders: Mapping[str, Contender]) -> tuple[str, ...]:
    """Names of those that no other one beats, in the order of their first figure.

    Args:
        contenders: By name; all have the same figures in the same order.

    Returns:
        Those that nothing sets apart stand beside each other.
    """
    kept = [name for name, own in contenders.items() if not any(beats(other, own) for other in contenders.values())]
    return tuple(sorted(kept, key=lambda name: [figure.value for figure in contenders[name].figures]))


def beats(one: Contender, other: Contender) -> bool:
    """Whether one is nowhere worse than the other as measured, and somewhere better beyond doubt."""
    pairs = list(zip(one.figures, other.figures, strict=True))
    if any(mine.value > its.value for mine, its in pairs):
        return False
    # Of two machines, the noisier one decides.
    floors = map(max, zip(one.floors, other.floors, strict=True))
    return any(differ(mine, its, floor) for (mine, its), floor in zip(pairs, floors, strict=True))
