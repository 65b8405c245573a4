"""Gates: limits on figures of `results.json`, judged; `evaluation.gate_figures` refuses those that never could be.

A gate has a confidence, 95% unless it says otherwise. A figure passes when the bound that holds at this confidence lies
on the right side of the limit, fails when the other bound lies on the wrong side, and otherwise gives insufficient
evidence; so does a score, a difference of scores, or a figure of held-out text whose documents tell no bound, as fewer
than five never do. Any other figure without one (a size, a ratio that nobody paired) is judged by its value.

A gate with a margin is a test of non-inferiority: what must be shown is that the figure is no worse than that of the
teacher (or of `torch-fp32`) by more than the margin. See docs/statistics.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from evaluation.evidence import Direction, Evidence, documents_needed, of_interval
from evaluation.gate_figures import is_measured, is_of_scores, is_score, reference_path
from evaluation.paired_shares import POWER
from evaluation.results import GateResult, Verdict
from evaluation.run_evidence import Key, Kind
from stillhouse.recipe.gates import Gate

# Figures that already are a paired comparison, with an interval that the two single figures cannot give.
_PAIRED = {
    ("models", "held_out_loss_nats_per_token", "difference"): "held_out_loss_above_teacher_nats_per_token",
    ("variants", "bits_per_byte", "ratio"): "bits_per_byte_ratio_to_fp32",
}
Limits = tuple[float, float]
"""What a figure may be, from and to; infinite where it is not limited."""


def judge(
    gates: Iterable[Gate], results: Mapping[str, Any], evidence: Mapping[Key, Evidence] | None = None
) -> list[GateResult]:
    """Judge every gate, in order.

    Args:
        gates: As in the recipe.
        results: The content of `results.json`, as JSON values.
        evidence: What the documents of the run prove, as from `evaluation.run_evidence.evidence_of`. A figure that is
            not in it is judged by its interval in the results, or by its value.
    """
    return [_judge(gate, results, evidence or {}) for gate in gates]


def blocks_run(results: Sequence[GateResult]) -> bool:
    """Say whether a gate keeps the whole run from shipping: a block gate, not on a variant, that did not pass."""
    return any(not gate.figure.startswith("variants.") for gate in _not_passed(results))


def variants_left_out(results: Sequence[GateResult]) -> dict[str, str]:
    """Name the variants that a block gate keeps out of the package, each with the reason."""
    reasons: dict[str, list[str]] = {}
    for gate in _not_passed(results):
        room, name, *path = gate.figure.split(".")
        if room == "variants":
            found = "has no value" if gate.value is None else f"is {gate.value:.6g}"
            reasons.setdefault(name, []).append(f"{'.'.join(path)} {found}, gate {gate.limit}: {gate.verdict}")
    return {name: "; ".join(lines) for name, lines in reasons.items()}


def _not_passed(results: Sequence[GateResult]) -> Iterator[GateResult]:
    return (gate for gate in results if gate.action == "block" and gate.verdict != "passed")


def _judge(gate: Gate, results: Mapping[str, Any], evidence: Mapping[Key, Evidence]) -> GateResult:
    found = _measured(gate, results, evidence)
    limits = _limits(gate, found)
    interval = None if found is None else found.interval_at(2 * gate.confidence - 1)
    verdict = _verdict(found, interval, limits, needs_interval=_needs_interval(gate, found))
    needed = None
    if found is not None and verdict == "insufficient evidence":
        finite = [limit for limit in limits if isfinite(limit)]
        needed = documents_needed(found, finite, confidence=gate.confidence, power=POWER)
    return GateResult(
        figure=gate.figure,
        value=None if found is None else found.value,
        interval=interval,
        limit=_limit(gate, limits),
        action=gate.action,
        verdict=verdict,
        margin=gate.margin,
        confidence=gate.confidence,
        documents_needed=needed,
    )


def _needs_interval(gate: Gate, found: Evidence | None) -> bool:
    """Say whether a bare value is no evidence: of all that documents tell, unless a limit is on what they all share.

    Where every document of held-out text has the same figure, as a variant that always agrees with `torch-fp32`, no
    interval has a width, and thousands of tokens stand behind it.
    """
    if gate.margin is not None or is_score(gate):
        return True
    alike = gate.relative_to is None and found is not None and found.is_alike()
    return is_measured(gate) and not alike


def _measured(gate: Gate, results: Mapping[str, Any], evidence: Mapping[Key, Evidence]) -> Evidence | None:
    """Find what the gate limits; `None` where there is no finite value.

    The value is that of `results.json` where it stands there, so that it has the same digits everywhere.
    """
    kind: Kind = "alone" if gate.relative_to is None else gate.compare
    value, interval = _stated(gate, results)
    found = evidence.get((gate.figure, kind))
    if value is None:
        return None
    return (
        of_interval(value, interval, direction=_usual_direction(gate)) if found is None else replace(found, value=value)
    )


def _stated(gate: Gate, results: Mapping[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """Look up what the gate limits in `results.json`, with its 95% interval where there is one."""
    if gate.relative_to is None:
        return _value(results, gate.figure), _interval(results, gate.figure)
    reference = reference_path(gate)
    assert reference is not None, "preflight refuses such a gate"
    room, name, *path = gate.figure.split(".")
    paired = _PAIRED.get((room, ".".join(path), gate.compare))
    if is_of_scores(gate) and path[-1] == "value" and gate.compare == "difference":
        paired = ".".join([*path[:-1], "difference_to_teacher"])
    if paired is not None:
        figure = f"{room}.{name}.{paired}"
        return _value(results, figure), _interval(results, figure)
    value, other = _value(results, gate.figure), _value(results, reference)
    if value is None or other is None:
        return None, None
    if gate.compare == "difference":
        return value - other, None
    return (value / other if other else None), None


def _value(results: Mapping[str, Any], figure: str) -> float | None:
    """Look a figure up; `None` where it is absent or no finite number."""
    found: Any = results
    for name in figure.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) and isfinite(found) else None


def _interval(results: Mapping[str, Any], figure: str) -> tuple[float, float] | None:
    """Look up the 95% interval of a figure: its part's own, or that of a difference to the teacher."""
    room, name, *path = figure.split(".")
    part = results.get(room, {}).get(name, {})
    if path[-1] == "difference_to_teacher":
        for step in path[:-1]:
            part = part.get(step, {})
        return _pair(part.get("difference_interval"))
    if path[0] == "by_prompt_tokens":
        part, path = part.get(path[0], {}).get(path[1], {}), path[2:]
    return _pair(part.get("intervals", {}).get(".".join(path)))


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _usual_direction(gate: Gate) -> Direction:
    """Which way is better where no documents say it: of losses and bits it is known, of scores it is not."""
    return "no direction" if is_of_scores(gate) else "lower is better"


def _limits(gate: Gate, found: Evidence | None) -> Limits:
    """What the figure may be; a margin lies on the side on which the figure is worse."""
    if gate.margin is None:
        return (
            -inf if gate.at_least is None else gate.at_least,
            inf if gate.at_most is None else gate.at_most,
        )
    same = 1.0 if gate.compare == "ratio" else 0.0
    match _usual_direction(gate) if found is None else found.direction:
        case "higher is better":
            return same - gate.margin, inf
        case "lower is better":
            return -inf, same + gate.margin
        case _:
            return same - gate.margin, same + gate.margin


def _verdict(
    found: Evidence | None, interval: tuple[float, float] | None, limits: Limits, *, needs_interval: bool
) -> Verdict:
    if found is None or (needs_interval and interval is None):
        return "insufficient evidence"
    low, high = interval or (found.value, found.value)
    if limits[0] <= low and high <= limits[1]:
        return "passed"
    return "failed" if low > limits[1] or high < limits[0] else "insufficient evidence"


def _limit(gate: Gate, limits: Limits) -> str:
    """Spell what the figure may be, as `evaluation.report.gate_words` reads it."""
    low, high = limits
    if isfinite(low) and isfinite(high):
        return f"within {high:g} of {gate.relative_to}"
    side, bound = ("at most", high) if isfinite(high) else ("at least", low)
    if gate.relative_to is None:
        return f"{side} {bound:g}"
    if gate.compare == "ratio":
        return f"{side} {bound:g} x {gate.relative_to}"
    sign = "-" if bound < 0 else "+"
    return f"{side} {gate.relative_to} {sign} {abs(bound):g}"
