"""Gates: limits on figures of `results.json`, refused early where no stage produces the figure, judged late.

A figure with an interval passes a gate when its whole interval lies on the right side of the limit, fails when
all of it lies on the wrong side, and otherwise gives insufficient evidence; so does a score, or a difference of scores,
that has none. Any other figure without one (a size, a ratio that nobody paired) is judged by its value.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, sqrt
from typing import Any, get_args

from pydantic import BaseModel

from evaluation.measure_names import behaviour_measures, capability_measures, is_share
from evaluation.results import GateResult, ModelFigures, Percentiles, Score, Speed, VariantFigures, Verdict
from evaluation.statistics import NORMAL
from stillhouse.errors import InputError
from stillhouse.recipe.delivery import Delivery
from stillhouse.recipe.gates import Gate
from stillhouse.recipe.recipe import Recipe

# Figures that already are a paired comparison, with an interval that the two single figures cannot give.
_PAIRED = {
    ("models", "held_out_loss_nats_per_token", "difference"): "held_out_loss_above_teacher_nats_per_token",
    ("variants", "bits_per_byte", "ratio"): "bits_per_byte_ratio_to_fp32",
}
_SCORES = ("capability", "behaviour")
_REFERENCE_VARIANT = "torch-fp32"


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
        for figure in (*_numbers(VariantFigures), *_speeds(recipe))
    }
    # What compares a model with its teacher is no figure of the teacher, nor of a model that has none.
    alone = "teacher" if isinstance(recipe, Recipe) else "student"
    return frozenset(
        figure for figure in held_out | scores | variants if not (f".{alone}." in figure and _compares(figure))
    )


def check_gates(recipe: Delivery) -> None:
    """Refuse gates that could never be judged.

    Raises:
        InputError: If no stage of the recipe produces the figure, or `relative_to` names nothing to compare with.
    """
    figures = figures_of(recipe)
    for gate in recipe.gates:
        if gate.figure not in figures:
            near = difflib.get_close_matches(gate.figure, sorted(figures), n=3)
            meant = f"near it are {', '.join(near)}" if near else "docs/results.md lists the figures"
            raise InputError(f"gates has the figure {gate.figure!r}, which no stage of this recipe produces; {meant}")
        if gate.relative_to is not None and _reference_path(gate) not in figures:
            raise InputError(_why_not_relative(gate))


def judge(gates: Iterable[Gate], results: Mapping[str, Any]) -> list[GateResult]:
    """Judge every gate, in order.

    Args:
        gates: As in the recipe.
        results: The content of `results.json`, as JSON values.
    """
    return [_judge(gate, results) for gate in gates]


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


def _speeds(recipe: Delivery) -> Iterator[str]:
    """Paths of the speeds after a prompt of each length."""
    for length in recipe.benchmark.prompt_tokens:
        yield from (f"by_prompt_tokens.{length}.{figure}" for figure in _numbers(Speed))


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


def _judge(gate: Gate, results: Mapping[str, Any]) -> GateResult:
    value, interval = _measured(gate, results)
    return GateResult(
        figure=gate.figure,
        value=value,
        interval=interval,
        limit=_limit(gate),
        action=gate.action,
        verdict=_verdict(gate, value, interval, needs_interval=_is_score(gate)),
    )


def _measured(gate: Gate, results: Mapping[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """Look up what the gate limits, with its interval where there is one."""
    if gate.relative_to is None:
        return _value(results, gate.figure), _interval(results, gate.figure)
    reference = _reference_path(gate)
    assert reference is not None, "preflight refuses such a gate"
    room, name, *path = gate.figure.split(".")
    paired = _PAIRED.get((room, ".".join(path), gate.compare))
    if paired is not None:
        figure = f"{room}.{name}.{paired}"
        return _value(results, figure), _interval(results, figure)
    if room in _SCORES and path[-1] == "value" and gate.compare == "difference":
        figure = f"{room}.{name}.{path[0]}.difference_to_teacher"
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
    """Look up the 95% interval of a figure: its part's own, or that of a share of documents."""
    room, name, *path = figure.split(".")
    part = results.get(room, {}).get(name, {})
    if room in _SCORES:
        score = part.get(path[0], {})
        if path[-1] == "difference_to_teacher":
            return _pair(score.get("difference_interval"))
        return _score_interval(score, share=room == "capability" or is_share(name)) if path[-1] == "value" else None
    if path[0] == "by_prompt_tokens":
        part, path = part.get(path[0], {}).get(path[1], {}), path[2:]
    return _pair(part.get("intervals", {}).get(".".join(path)))


def _score_interval(score: Mapping[str, Any], *, share: bool) -> tuple[float, float] | None:
    """Return the interval of a score over documents; `None` where their values do not tell how far others would lie."""
    if share:
        return _share_interval(score["value"], score["n"]) if score.get("n") else None
    reach = NORMAL * score.get("stderr", 0.0)
    return (score["value"] - reach, score["value"] + reach) if reach else None


def _is_score(gate: Gate) -> bool:
    """Say whether a gate limits a score, or its difference to the teacher's: a few documents alone decide nothing."""
    room, *_, name = gate.figure.split(".")
    return room in _SCORES and name in ("value", "difference_to_teacher") and gate.compare == "difference"


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _share_interval(share: float, documents: int) -> tuple[float, float]:
    """Return the 95% interval of a share of documents (Wilson, 1927).

    Unlike a share and its standard errors it has a width where all documents, or none, were answered rightly.
    """
    z = NORMAL
    scale = 1 + z**2 / documents
    centre = (share + z**2 / (2 * documents)) / scale
    reach = z / scale * sqrt(share * (1 - share) / documents + z**2 / (4 * documents**2))
    return centre - reach, centre + reach


def _verdict(gate: Gate, value: float | None, interval: tuple[float, float] | None, *, needs_interval: bool) -> Verdict:
    if value is None or (needs_interval and interval is None):
        return "insufficient evidence"
    low, high = interval or (value, value)
    # `at_least` is `at_most` seen in a mirror.
    if gate.at_most is None:
        low, high = -high, -low
    limit = gate.at_most if gate.at_most is not None else -(gate.at_least or 0.0)
    if high <= limit:
        return "passed"
    return "failed" if low > limit else "insufficient evidence"


def _limit(gate: Gate) -> str:
    side, bound = ("at most", gate.at_most) if gate.at_most is not None else ("at least", gate.at_least)
    assert bound is not None
    if gate.relative_to is None:
        return f"{side} {bound:g}"
    if gate.compare == "ratio":
        return f"{side} {bound:g} x {gate.relative_to}"
    sign = "-" if bound < 0 else "+"
    return f"{side} {gate.relative_to} {sign} {abs(bound):g}"
