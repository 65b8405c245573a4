"""A student's score beside the teacher's: a difference only where its interval says so."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.report import words
from evaluation.report.measure_words import Measure
from evaluation.results import Interval, Score

UNCLEAR = "not distinguishable at this n"


@dataclass(frozen=True)
class Difference:
    """A student's score less the teacher's."""

    value: float
    interval: Interval | None
    """Its 95% interval; None where all documents differ alike."""

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


def difference(scores: Mapping[str, Score]) -> Difference | None:
    """The student's score less the teacher's, from one measure's scores by model; None where nobody compared them."""
    student = scores.get("student")
    if student is None or student.difference_to_teacher is None:
        return None
    return Difference(student.difference_to_teacher, student.difference_interval)


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
