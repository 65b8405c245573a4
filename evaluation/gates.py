"""Gates: limits on figures of `results.json`, refused early where no stage produces the figure, judged late.

A gate has a confidence, 95% unless it says otherwise. A figure passes when the bound that holds at this confidence lies
on the right side of the limit, fails when the other bound lies on the wrong side, and otherwise gives insufficient
evidence; so does a score, or a difference of scores, whose documents tell no bound. Any other figure without one (a
size, a ratio that nobody paired) is judged by its value.

A gate with a margin is a test of non-inferiority: what must be shown is that the figure is no worse than that of the
teacher (or of `torch-fp32`) by more than the margin. See docs/statistics.md.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any, get_args

from pydantic import BaseModel

from evaluation.evidence import Direction, Evidence, documents_needed, of_interval
from evaluation.forgetting import RATIO, gated_domains
from evaluation.measure_names import behaviour_measures, capability_measures
from evaluation.paired_shares import POWER
from evaluation.results import GateResult, ModelFigures, Percentiles, Score, Speed, VariantFigures, Verdict
from evaluation.run_evidence import Key, Kind
from stillhouse.errors import InputError
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.delivery import Delivery
from stillhouse.recipe.gates import Gate
from stillhouse.recipe.recipe import Recipe

# Figures that already are a paired comparison, with an interval that the two single figures cannot give.
_PAIRED = {
    ("models", "held_out_loss_nats_per_token", "difference"): "held_out_loss_above_teacher_nats_per_token",
    ("variants", "bits_per_byte", "ratio"): "bits_per_byte_ratio_to_fp32",
}
# Of these both models' totals are kept by document, so that a margin can be judged.
_BY_DOCUMENT = {
    "models": ("held_out_loss_nats_per_token", "bits_per_byte"),
    "variants": ("bits_per_byte",),
}
_SCORES = ("capability", "behaviour")
_REFERENCE_VARIANT = "torch-fp32"
Limits = tuple[float, float]
"""What a figure may be, from and to; infinite where it is not limited."""


def figures_of(recipe: Delivery) -> frozenset[str]:
    """Paths of all numbers that `results.json` of this recipe will hold."""
    models = ("teacher", "pruned", "student") if isinstance(recipe, Recipe) else ("student",)
    asked = recipe.evaluation
    held_out = {f"models.{model}.{figure}" for model in models for figure in _numbers(ModelFigures)}
    scores = {
        f"{room}.{name}.{model}.{figure}"
        for room, names in (
            ("capability", capability_measures(asked)),
            ("behaviour", behaviour_measures(asked)),
        )
        for name in names
        for model in models
        for figure in _numbers(Score)
    }
    variants = {
        f"variants.{variant}.{figure}"
        for variant in {_REFERENCE_VARIANT, *recipe.export.variants}
        for figure in (*_numbers(VariantFigures), *_speeds(recipe), *_scores_of_variants(recipe))
    }
    # What compares a model with its teacher is no figure of the teacher, nor of a model that has none; nor has the
    # variant that others are compared with.
    alone = ("teacher" if isinstance(recipe, Recipe) else "student", _REFERENCE_VARIANT)
    return frozenset(
        figure
        for figure in held_out | scores | variants | _domains(recipe)
        if not (_compares(figure) and any(f".{name}." in figure for name in alone))
    )


def check_gates(recipe: Delivery) -> None:
    """Refuse gates that could never be judged.

    Raises:
        InputError: If no stage of the recipe produces the figure, `relative_to` names nothing to compare with, or a
            margin is on a figure that nothing pairs document by document.
    """
    figures = figures_of(recipe)
    for gate in recipe.gates:
        if gate.figure not in figures:
            near = difflib.get_close_matches(gate.figure, sorted(figures), n=3)
            meant = f"near it are {', '.join(near)}" if near else "docs/results.md lists the figures"
            raise InputError(f"gates has the figure {gate.figure!r}, which no stage of this recipe produces; {meant}")
        if gate.relative_to is not None and _reference_path(gate) not in figures:
            raise InputError(_why_not_relative(gate))
        if gate.margin is not None and not _is_paired(gate):
            raise InputError(_why_no_margin(gate))
        if gate.relative_to is not None and _is_score(gate) and not _is_paired(gate):
            raise InputError(
                f"gates compares {gate.figure!r} with {gate.relative_to} by {gate.compare}, and nothing shows how sure "
                "that is: of scores, differences are compared; set compare: difference, or a limit without relative_to"
            )


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


def _compares(figure: str) -> bool:
    """Say whether a figure is a comparison with the teacher."""
    name = figure.rsplit(".", 1)[1]
    return any(name in part.model_fields and part.model_fields[name].default is None for part in (ModelFigures, Score))


def _domains(recipe: Delivery) -> set[str]:
    """Paths of what a student that is trained in rounds may have forgotten."""
    if not isinstance(recipe, Recipe) or not isinstance(recipe.route, Continual):
        return set()
    return {f"domains.{name}.{RATIO}" for name in gated_domains(recipe.route)}


def _speeds(recipe: Delivery) -> Iterator[str]:
    """Paths of the speeds after a prompt of each length."""
    for length in recipe.benchmark.prompt_tokens:
        yield from (f"by_prompt_tokens.{length}.{figure}" for figure in _numbers(Speed))


def _scores_of_variants(recipe: Delivery) -> Iterator[str]:
    """Paths of the scores that every variant gets from its own bytes."""
    if recipe.evaluation.variant_documents:
        for name in capability_measures(recipe.evaluation):
            yield from (f"capability.{name}.{figure}" for figure in _numbers(Score))


def _numbers(part: type[BaseModel]) -> Iterator[str]:
    """Paths of the numbers in a part of the results."""
    for name, field in part.model_fields.items():
        kinds = set(get_args(field.annotation)) or {field.annotation}
        if kinds & {int, float}:
            yield name
        elif field.annotation is Percentiles:
            yield from (f"{name}.{inner}" for inner in _numbers(Percentiles))


def _reference_path(gate: Gate) -> str | None:
    """Path of the figure that `relative_to` compares with, if the gate's path has a place for it."""
    room, *path = gate.figure.split(".")
    match gate.relative_to, room, path:
        case "teacher", "models", [model, *figure] if model != "teacher":
            return ".".join(["models", "teacher", *figure])
        case "teacher", "capability" | "behaviour", [measure, model, *figure] if model != "teacher":
            return ".".join([room, measure, "teacher", *figure])
        case "torch-fp32", "variants", [variant, *figure] if variant != _REFERENCE_VARIANT:
            return ".".join(["variants", _REFERENCE_VARIANT, *figure])
    return None


def _why_not_relative(gate: Gate) -> str:
    if gate.relative_to == "teacher":
        allowed = "a figure under models, capability or behaviour, not the teacher's own, that the teacher has too"
    else:
        allowed = f"a figure of a variant other than {_REFERENCE_VARIANT}, under variants"
    return (
        f"gates compares {gate.figure!r} with {gate.relative_to}, which has no such figure; "
        f"relative_to: {gate.relative_to} is for {allowed}"
    )


def _is_paired(gate: Gate) -> bool:
    """Say whether both figures that a gate compares are known document by document."""
    room, *_, figure = gate.figure.split(".")
    if _is_of_scores(gate):
        return figure == "value" and gate.compare == "difference"
    return figure in _BY_DOCUMENT.get(room, ())


def _why_no_margin(gate: Gate) -> str:
    if _is_of_scores(gate):
        allowed = "under capability and behaviour a margin is for a value, by compare: difference"
    else:
        paths = (f"{room}.NAME.{figure}" for room, figures in _BY_DOCUMENT.items() for figure in figures)
        allowed = f"a margin is for {', '.join(paths)} and for the values of capability and behaviour"
    return (
        f"gates has a margin on {gate.figure!r} by {gate.compare}, of which the documents of both are not compared one "
        f"by one, so that nothing shows how sure it is; {allowed}; here set at_most or at_least"
    )


def _judge(gate: Gate, results: Mapping[str, Any], evidence: Mapping[Key, Evidence]) -> GateResult:
    found = _measured(gate, results, evidence)
    limits = _limits(gate, found)
    interval = None if found is None else found.interval_at(2 * gate.confidence - 1)
    verdict = _verdict(found, interval, limits, needs_interval=gate.margin is not None or _is_score(gate))
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
    reference = _reference_path(gate)
    assert reference is not None, "preflight refuses such a gate"
    room, name, *path = gate.figure.split(".")
    paired = _PAIRED.get((room, ".".join(path), gate.compare))
    if _is_of_scores(gate) and path[-1] == "value" and gate.compare == "difference":
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


def _is_score(gate: Gate) -> bool:
    """Say whether a gate limits a score, or what sets it off the teacher's: a few documents alone decide nothing."""
    name = gate.figure.rsplit(".", 1)[1]
    return _is_of_scores(gate) and name in ("value", "difference_to_teacher")


def _is_of_scores(gate: Gate) -> bool:
    """Say whether a figure stands in a score of a model, or of a variant."""
    room, _, *path = gate.figure.split(".")
    return room in _SCORES or (room == "variants" and path[0] == "capability")


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _usual_direction(gate: Gate) -> Direction:
    """Which way is better where no documents say it: of losses and bits it is known, of scores it is not."""
    return "no direction" if _is_of_scores(gate) else "lower is better"


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
