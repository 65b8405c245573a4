"""A student's score beside the teacher's: a difference only where its interval says so."""

import math
from dataclasses import dataclass

from evaluation.report import words
from evaluation.report.measure_words import Measure
from evaluation.results import Interval, Score
from evaluation.statistics import NORMAL

UNCLEAR = "not distinguishable at this n"


@dataclass(frozen=True)
class Difference:
    """A student's score less the teacher's."""

    value: float
    interval: Interval | None
    """Its 95% interval; None where not even standard errors are known."""
    is_paired: bool
    """Drawn over documents that both answered; else from both standard errors, as if the documents had differed."""

    @property
    def distinguishable(self) -> bool:
        """Whether there is an interval, and it leaves zero out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def reading(self) -> str:
        """What it says, in words."""
        if self.interval is None:
            return "no interval, so it may be chance"
        if not self.distinguishable:
            return UNCLEAR
        return "above the teacher" if self.value > 0 else "below the teacher"


def difference(scores: dict[str, Score], model: str = "student", reference: str = "teacher") -> Difference | None:
    """One model's score less another's on the same benchmark; None where one of them was not scored."""
    if model not in scores or reference not in scores:
        return None
    one, other = scores[model], scores[reference]
    if one.difference_to_teacher is not None and one.difference_interval is not None and reference == "teacher":
        return Difference(one.difference_to_teacher, one.difference_interval, is_paired=True)
    value, reach = one.value - other.value, NORMAL * math.hypot(one.stderr, other.stderr)
    # A standard error of 0 is none: all documents were answered alike, or nobody worked one out.
    known = one.stderr > 0 and other.stderr > 0
    return Difference(value, (value - reach, value + reach) if known else None, is_paired=False)


def bounds(measure: Measure, found: Difference) -> str:
    """The interval of a difference, each bound with its sign; empty without one."""
    return words.TO.join(map(measure.difference, found.interval or ()))


def signed(measure: Measure, found: Difference) -> str:
    """A difference with its unit and interval: `+1.0 points (-2.0 to +4.0)`."""
    return _with_interval(measure, measure.difference(found.value), bounds(measure, found))


def distance(measure: Measure, found: Difference) -> str:
    """A distinguishable difference without its sign: `5.2 points (2.1 to 8.3)`."""
    ends = sorted(map(abs, found.interval or ()))
    return _with_interval(measure, measure.size(abs(found.value)), words.TO.join(map(measure.size, ends)))


def _with_interval(measure: Measure, value: str, spread: str) -> str:
    unit = f" {measure.difference_unit}".rstrip()
    return f"{value}{unit}" + (f" ({spread})" if spread else ", no interval")
