"""A student's score beside the teacher's: a difference only where its interval says so."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluation.report import words
from evaluation.report.measure_words import Measure
from evaluation.results import Interval, Score
from evaluation.statistics import LEVEL

UNCLEAR = "not distinguishable at this n"
ALONE = "by itself, not among all"


@dataclass(frozen=True)
class Difference:
    """A student's score less the teacher's."""

    value: float
    interval: Interval | None
    """Its 95% interval; None where all documents differ alike."""
    p_value: float | None = None
    """Of no difference, by itself."""
    p_value_holm: float | None = None
    """The same among all that the suite compares."""
    minimum_detectable: float | None = None
    """The smallest true difference that so many documents show four times in five."""

    @property
    def distinguishable(self) -> bool:
        """Whether there is an interval that leaves zero out, and the suite's other comparisons do not explain it."""
        return self._leaves_zero_out and not self._may_be_one_of_many

    @property
    def reading(self) -> str:
        """What it says, in words."""
        if self.interval is None:
            return "no interval, so it may be chance"
        if not self._leaves_zero_out:
            return UNCLEAR
        side = "above the teacher" if self.value > 0 else "below the teacher"
        return f"{side} {ALONE}" if self._may_be_one_of_many else side

    @property
    def doubt(self) -> str:
        """Why it may be chance, in words; empty for a difference."""
        if self.distinguishable:
            return ""
        return ALONE if self._leaves_zero_out else UNCLEAR

    @property
    def _leaves_zero_out(self) -> bool:
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def _may_be_one_of_many(self) -> bool:
        return self.p_value_holm is not None and self.p_value_holm > 1 - LEVEL


def difference(scores: Mapping[str, Score]) -> Difference | None:
    """The student's score less the teacher's, from one measure's scores by model; None where nobody compared them."""
    student = scores.get("student")
    return None if student is None else of_score(student)


def of_score(score: Score) -> Difference | None:
    """What sets a score off that of the teacher, or of `torch-fp32`; None where nobody compared them."""
    if score.difference_to_teacher is None:
        return None
    return Difference(
        score.difference_to_teacher,
        score.difference_interval,
        score.p_value,
        score.p_value_holm,
        score.minimum_detectable_difference,
    )


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


def chance(found: Difference) -> str:
    """How likely chance alone would set the two so far apart, alone and among the suite; empty where nobody knows."""
    if found.p_value is None:
        return ""
    among = "" if found.p_value_holm is None else f", {_p_value(found.p_value_holm)} among all (Holm)"
    return f"p {_p_value(found.p_value)}{among}"


def seen(measure: Measure, found: Difference, documents: int) -> str:
    """What so many documents can show: `with 200 documents this suite sees differences above 4.1 points`."""
    if found.minimum_detectable is None:
        return f"{words.plural(documents, 'document')} are too few to show any difference"
    size = f"{measure.size(found.minimum_detectable)} {measure.difference_unit}".rstrip()
    return f"with {words.plural(documents, 'document')} this suite sees differences above {size}"


def _p_value(value: float) -> str:
    return "below 0.001" if value < 0.001 else words.number(float(value), 2)


def _with_interval(measure: Measure, value: str, spread: str) -> str:
    unit = f" {measure.difference_unit}".rstrip()
    return f"{value}{unit}" + (f" ({spread})" if spread else ", no interval")
