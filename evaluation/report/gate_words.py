"""What a gate is about, and its value spelled as its limit is."""

import math
import re
from dataclasses import dataclass

from evaluation.report.measure_words import measure
from evaluation.report.words import LABELS, MINUS, TO, number, unit
from evaluation.results import GateResult, Interval

_LIMIT = re.compile(
    r"at (?:most|least) (?:(?P<reference>\S+) (?P<sign>[+-]) )?"
    r"(?P<number>[-+]?[\d.]+(?:e[-+]?\d+)?)(?: (?P<ratio>x \S+))?"
)
_WITHIN = re.compile(r"within (?P<number>[\d.]+(?:e[-+]?\d+)?) of (?P<reference>\S+)")


@dataclass(frozen=True)
class Subject:
    """What a gate is about."""

    owner: str
    """A model or a variant; empty for a path that names neither."""
    name: str
    """The figure, in words."""
    unit: str


def subject(path: str) -> Subject:
    """Read the path of a figure in `results.json`: whose it is, then what it is."""
    section, *rest = path.split(".")
    if section in ("capability", "behaviour") and len(rest) >= 2:
        key, model, *part = rest
        parts = [measure(section, key).name, *(LABELS.get(one, one) for one in part if one != "value")]
        return Subject(model, ", ".join(parts), "")
    if section in ("models", "variants", "domains") and len(rest) >= 2:
        owner, figure, *part = rest
        if figure == "capability" and part:
            key, *part = part
            parts = [measure("capability", key).name, *(LABELS.get(one, one) for one in part if one != "value")]
            return Subject(owner, ", ".join(parts), "")
        if figure == "by_prompt_tokens" and len(part) >= 2:
            length, figure, *part = part
            part = [*part, f"{length} prompt tokens"]
        return Subject(owner, ", ".join([LABELS.get(figure, figure.replace("_", " ")), *part]), unit(figure))
    return Subject("", path, "")


def name(path: str) -> str:
    """A gate's figure as the head of a row."""
    found = subject(path)
    text = f"{found.owner}: {found.name}" if found.owner else found.name
    return f"{text} ({found.unit})" if found.unit else text


def limit_number(limit: str) -> float | None:
    """The number that a gate's value is compared with: 0.1 of `at most teacher + 0.1`; None if it is not told."""
    if within := _WITHIN.fullmatch(limit):
        return float(within["number"])
    found = _LIMIT.fullmatch(limit)
    if found is None:
        return None
    return float(found["number"]) * (-1 if found["sign"] == "-" else 1)


def room(limit: str, value: float) -> float | None:
    """How far a value keeps off its limit, negative beyond it; None if the limit is not told."""
    number_of_limit = limit_number(limit)
    if number_of_limit is None:
        return None
    if _WITHIN.fullmatch(limit):
        return number_of_limit - abs(value)
    return number_of_limit - value if limit.startswith("at most") else value - number_of_limit


def spelled(value: float, limit: str) -> str:
    """A gate's value spelled as its limit is, with enough digits to tell the two apart."""
    found = _LIMIT.fullmatch(limit)
    text = _apart(value, limit_number(limit))
    if reference := _reference(limit):
        sign = "-" if value < 0 else "+"
        return f"{reference} {sign} {text.removeprefix(MINUS)}"
    return f"{text} {found['ratio']}" if found and found["ratio"] else text


def spelled_interval(bounds: Interval | None, limit: str) -> str:
    """The bounds of a gate's value; of a difference with their sign, the reference itself left out."""
    if bounds is None:
        return ""
    is_difference = bool(_reference(limit))
    return TO.join(("+" if is_difference and bound > 0 else "") + number(float(bound), 4) for bound in bounds)


def spelled_bounds(gate: GateResult) -> str:
    """The bounds of a gate's value and how sure they are: `one-sided 95% bounds 0.61 to 0.66`; empty without any."""
    bounds = spelled_interval(gate.interval, gate.limit)
    if not bounds:
        return ""
    kind = "95% interval" if gate.confidence is None else f"one-sided {100 * gate.confidence:g}% bounds"
    return f"{kind} {bounds}"


def settled_by(gate: GateResult) -> str:
    """How many documents would decide a gate that these left open; empty where nobody can say."""
    if gate.documents_needed is None:
        return ""
    # Two digits: the spread that it rests on is no surer.
    rounded = round(gate.documents_needed, 2 - len(str(gate.documents_needed)))
    return f"about {number(rounded)} documents would decide it"


def _reference(limit: str) -> str:
    """What a difference is measured from; empty for any other limit."""
    found = _WITHIN.fullmatch(limit) or _LIMIT.fullmatch(limit)
    return (found["reference"] or "") if found else ""


def _apart(value: float, limit: float | None) -> str:
    spellings = [number(float(value), digits) for digits in range(4, 17)]
    if limit is None or value == limit or not math.isfinite(value):
        return spellings[0]
    return next((text for text in spellings if _parsed(text) != limit), spellings[-1])


def _parsed(text: str) -> float:
    return float(text.replace(",", "").replace(MINUS, "-"))
