"""Limits on figures of each response by itself: which responses they let pass, and what is said where that is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from stillhouse.data.hopeless import Said, shown
from stillhouse.data.response_figures import Figures
from stillhouse.errors import InputError
from stillhouse.recipe.responses import Keep

_Figure = Literal["tokens", "token_entropy_nats", "distinct_2"]


@dataclass(frozen=True)
class Limit:
    """A bound that a figure is not to pass."""

    key: str
    """In the recipe's `keep`."""
    figure: _Figure
    bound: float
    at_least: bool
    """Whether the bound is the lowest value, not the highest."""

    @property
    def reason(self) -> str:
        """Why a response is left out."""
        return f"with {self.figure} {'below' if self.at_least else 'above'} {self.bound:g}"

    def allows(self, figures: Figures) -> bool:
        """Whether a response may stay; one that has no such figure may: a single token repeats nothing."""
        value = self.value(figures)
        if value is None:
            return True
        return value >= self.bound if self.at_least else value <= self.bound

    def value(self, figures: Figures) -> float | None:
        """What is held against the bound."""
        match self.figure:
            case "tokens":
                return figures.tokens
            case "token_entropy_nats":
                return figures.token_entropy_nats
            case "distinct_2":
                return figures.distinct_2


def limits_of(keep: Keep) -> list[Limit]:
    """The limits that a recipe sets."""
    bounds: tuple[tuple[str, _Figure, float | None, bool], ...] = (
        ("tokens_at_least", "tokens", keep.tokens_at_least, True),
        ("tokens_at_most", "tokens", keep.tokens_at_most, False),
        ("token_entropy_nats_at_most", "token_entropy_nats", keep.token_entropy_nats_at_most, False),
        ("distinct_2_at_least", "distinct_2", keep.distinct_2_at_least, True),
    )
    return [Limit(key, figure, bound, at_least) for key, figure, bound, at_least in bounds if bound is not None]


def none_within(limit: Limit, figures: Sequence[Figures], said: Sequence[Said]) -> InputError:
    """What is said where no response is within a limit.

    Args:
        limit: That no response is within.
        figures: Of all responses that it left out, which is all there were.
        said: Their questions and texts.
    """
    values = [value for each in figures if (value := limit.value(each)) is not None]
    return InputError(
        f"data.answers.sampled.keep.{limit.key} is {limit.bound:g}, and none of {len(said)} responses is within it "
        f"(0%): {limit.figure} is from {min(values):.3g} to {max(values):.3g}, half of them up to "
        f"{median(values):.3g}: {shown(said)}; {'lower' if limit.at_least else 'raise'} it, or leave it out"
    )
