"""What a gate is about, and its value spelled as its limit is."""

import math
import re
from dataclasses import dataclass

from evaluation.report.measure_words import measure
from evaluation.report.words import LABELS, MINUS, TO, number, unit
from evaluation.results import Interval

_LIMIT = re.compile(
    r"at (?:most|least) (?:(?P<reference>\S+) (?P<sign>[+-]) )?"
    r"(?P<number>[-+]?[\d.]+(?:e[-+]?\d+)?)(?: (?P<ratio>x \S+))?"
)


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
    if section in ("models", "variants") and len(rest) >= 2:
        owner, figure, *part = rest
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
    found = _LIMIT.fullmatch(limit)
    if found is None:
        return None
    return float(found["number"]) * (-1 if found["sign"] == "-" else 1)


def spelled(value: float, limit: str) -> str:
    """A gate's value spelled as its limit is, with enough digits to tell the two apart."""
    found = _LIMIT.fullmatch(limit)
    text = _apart(value, limit_number(limit))
    if found is None:
        return text
    if found["reference"]:
        sign = "-" if value < 0 else "+"
        return f"{found['reference']} {sign} {text.removeprefix(MINUS)}"
    return f"{text} {found['ratio']}" if found["ratio"] else text


def spelled_interval(bounds: Interval | None, limit: str) -> str:
    """The interval of a gate's value; a difference with its sign, the reference itself left out."""
    if bounds is None:
        return ""
    is_difference = bool((found := _LIMIT.fullmatch(limit)) and found["reference"])
    return TO.join(("+" if is_difference and bound > 0 else "") + number(float(bound), 4) for bound in bounds)


def _apart(value: float, limit: float | None) -> str:
    spellings = [number(float(value), digits) for digits in range(4, 17)]
    if limit is None or value == limit or not math.isfinite(value):
        return spellings[0]
    return next((text for text in spellings if _parsed(text) != limit), spellings[-1])


def _parsed(text: str) -> float:
    return float(text.replace(",", "").replace(MINUS, "-"))
