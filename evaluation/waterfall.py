"""Where quality went: what each step from the teacher to the bytes that ship cost or gained, in every metric.

The steps are a tree: teacher, pruned, distilled; from there each variant, a quantized ONNX graph by way of the exported
one. A step is compared with the one before it. Teacher, pruned start and student were measured against the teacher on
the held-out text and on all documents of the benchmarks, variants against `torch-fp32` on parity text and a part of the
documents. So each change is of one text, and only their sum along a path is of two. A pure function of `results.json`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from evaluation.benchmark_files import Direction, benchmark, direction, known_benchmarks
from evaluation.results import Costs, Interval, ModelFigures, Results, Score, VariantFigures
from evaluation.separation import Measured, differ, floor_of, measured
from evaluation.statistics import LEVEL

Group = Literal["quality", "benchmarks", "cost"]
TEACHER, PRUNED, DISTILLED = "teacher", "pruned", "distilled"
REFERENCE, EXPORTED = "torch-fp32", "onnx-fp32"
COSTS = ("size_bytes", "inter_token_latency_ms.p95", "peak_memory_bytes")
ABOVE = "held_out_loss_above_teacher_nats_per_token"
_MODELS: dict[str, Literal["teacher", "pruned", "student"]] = {
    TEACHER: "teacher",
    PRUNED: "pruned",
    DISTILLED: "student",
}
ROUNDING = 1e-4
"""What sums in another order do to a figure of quality; beyond it, a step answers otherwise."""
_NOWHERE = (0.0, 0.0)


@dataclass(frozen=True)
class Step:
    """A form that the model had on its way."""

    name: str
    """`teacher`, `pruned`, `distilled`, or the variant's."""
    after: str | None
    """The step it was made from; `None` for the first."""
    done: str
    """What was done to it, in a word or two."""


@dataclass(frozen=True)
class Change:
    """What a step did to one metric."""

    since: str
    """The last step before it that was measured too."""
    value: float
    interval: Interval | None
    """Holds at 95% where one of the two is what the other was measured against, and at more where it is made of the
    intervals of both; `None` where there are none."""
    differs: bool
    """Whether it may be called a change: its interval leaves 0 out, the number of comparisons does not explain it, and
    of times and memory it exceeds the noise floor."""


@dataclass(frozen=True)
class Fall:
    """One metric over the steps that it was measured of."""

    metric: str
    """A field of `results.json`, a benchmark's name, or `pooled`."""
    group: Group
    direction: Direction
    first: str
    """The step it begins with."""
    start: float
    """Its value there."""
    changes: dict[str, Change]
    """By the name of the step."""

    def total(self, step: str) -> float:
        """The first value and all changes on the way to a step."""
        change = self.changes.get(step)
        return self.start if change is None else self.total(change.since) + change.value


@dataclass(frozen=True)
class Waterfall:
    """All steps, and every metric over them."""

    steps: tuple[Step, ...]
    """Each one behind the one that it was made from."""
    falls: tuple[Fall, ...]


@dataclass(frozen=True)
class _At:
    """A metric at one step, less that of a step that all of its kind were measured against."""

    value: float
    interval: Interval | None = None
    is_one_of_many: bool = False
    """Whether among so many comparisons chance alone may have made it."""


def waterfall(results: Results) -> Waterfall:
    """Work out what every step of a run changed; steps that a run does not have are left out."""
    steps = tuple(_steps(results))
    falls = (*_text_falls(steps, results), *_benchmark_falls(steps, results), *_cost_falls(steps, results))
    return Waterfall(steps, tuple(fall for fall in falls if fall.changes))


def _steps(results: Results) -> Iterator[Step]:
    last = None
    for name, model in _MODELS.items():
        if model in results.models:
            yield Step(name, last, name)
            last = name
    made = [name for name, found in results.variants.items() if isinstance(found, VariantFigures) and name != REFERENCE]
    is_exported = EXPORTED in made
    for name in sorted(made, key=lambda name: name != EXPORTED):
        if name == EXPORTED:
            yield Step(name, last, "exported")
        elif name.startswith("onnx"):
            yield Step(name, EXPORTED if is_exported else last, "quantized" if is_exported else "exported, quantized")
        else:
            yield Step(name, last, "quantized")


def _text_falls(steps: tuple[Step, ...], results: Results) -> Iterator[Fall]:
    models = {step: results.models[model] for step, model in _MODELS.items() if model in results.models}
    made = _made(results)
    origin = {DISTILLED: _At(0.0, _NOWHERE)}
    if models:
        first = next(iter(models.values()))
        loss, bits = first.held_out_loss_nats_per_token, first.bits_per_byte
        above = _against_first(models, ABOVE, 0.0)
        yield _fall(steps, ("held_out_loss_nats_per_token", "quality"), loss, [above])
        # Both are sums over the same tokens of the same text, so a difference of one is one of the other.
        scaled = {step: _times(found, bits / loss) for step, found in above.items()}
        if results.tokens_differ:
            # Sums over other tokens of the same text: the bits of each are known, and no interval of their difference.
            scaled = {step: _At(figures.bits_per_byte - bits) for step, figures in models.items()}
        yield _fall(steps, ("bits_per_byte", "quality"), bits, [scaled, origin | _bits_above(made)])
    if TEACHER in models:
        for metric, start in (("kl_to_teacher_nats_per_token", 0.0), ("top1_agreement_with_teacher", 1.0)):
            yield _fall(steps, (metric, "quality"), start, [_against_first(models, metric, start)])
    for metric, start in (("kl_to_fp32", 0.0), ("top1_agreement", 1.0)):
        beside = {
            name: _less(getattr(found, metric), found.intervals.get(metric), start)
            for name, found in made.items()
            if name != REFERENCE
        }
        yield _fall(steps, (metric, "quality"), start, [origin | beside])


def _against_first(models: Mapping[str, ModelFigures], metric: str, start: float) -> dict[str, _At]:
    """A metric that the teacher has as `start`, less that; the first step is what the others were measured against."""
    first = next(iter(models))
    found = {first: _At(0.0, _NOWHERE)}
    for step, figures in models.items():
        value = getattr(figures, metric)
        if step != first and value is not None:
            found[step] = _less(value, figures.intervals.get(metric), start)
    return found


def _bits_above(made: Mapping[str, VariantFigures]) -> dict[str, _At]:
    """Bits per byte above those of `torch-fp32` on the same text, by their ratio, whose interval is of both."""
    found = {}
    for name, figures in made.items():
        if name != REFERENCE:
            own = figures.bits_per_byte / figures.bits_per_byte_ratio_to_fp32
            ratio = figures.intervals.get("bits_per_byte_ratio_to_fp32")
            found[name] = _times(_less(figures.bits_per_byte_ratio_to_fp32, ratio, 1.0), own)
    return found


def _benchmark_falls(steps: tuple[Step, ...], results: Results) -> Iterator[Fall]:
    made = _made(results)
    for name, scores in results.capability.items():
        models = {step: scores[model] for step, model in _MODELS.items() if model in scores}
        if not models:
            continue
        first = next(iter(models))
        own = {first: _At(0.0, _NOWHERE)} | _scores_against(
            {step: one for step, one in models.items() if step != first}
        )
        variants = {each: found.capability[name] for each, found in made.items() if name in found.capability}
        beside = {DISTILLED: _At(0.0, _NOWHERE)} | _scores_against(variants)
        yield _fall(steps, (name, "benchmarks"), models[first].value, [own, beside])


def _scores_against(scores: Mapping[str, Score]) -> dict[str, _At]:
    """Differences to what the scores were compared with; those that were not compared are left out."""
    found = {}
    for step, score in scores.items():
        if score.difference_to_teacher is not None:
            # Where no document is answered otherwise, there is nothing between the two.
            same = score.gained == score.lost == 0
            spread = _NOWHERE if same else score.difference_interval
            is_one_of_many = score.p_value_holm is not None and score.p_value_holm > 1 - LEVEL
            found[step] = _At(score.difference_to_teacher, spread, is_one_of_many)
    return found


def _cost_falls(steps: tuple[Step, ...], results: Results) -> Iterator[Fall]:
    costs: dict[str, Costs] = {} if results.teacher_costs is None else {TEACHER: results.teacher_costs}
    costs |= {DISTILLED if name == REFERENCE else name: found for name, found in _made(results).items()}
    before = {step.name: step.after for step in steps}
    for metric in COSTS:
        found = {step: one for step in before if step in costs and (one := measured(costs[step], metric)) is not None}
        changes = {}
        for step, own in found.items():
            since = _since(step, before, found)
            if since is not None:
                told = found[since]
                floor = floor_of(results.noise_floor, metric)
                changes[step] = Change(since, own.value - told.value, _between(own, told), differ(own, told, floor))
        first = next(iter(found), "")
        start = found[first].value if found else 0.0
        yield Fall(metric, "cost", "lower is better", first, start, changes)


def _fall(steps: tuple[Step, ...], about: tuple[str, Group], start: float, texts: list[dict[str, _At]]) -> Fall:
    """Set one metric's steps in a row.

    Args:
        steps: All of them.
        about: The metric and its group.
        start: Its value at the first step.
        texts: What was measured on each text, everything less one of its own steps.
    """
    before = {step.name: step.after for step in steps}
    changes: dict[str, Change] = {}
    for found in texts:
        for step in before:
            since = _since(step, before, found) if step in found else None
            if since is not None:
                changes[step] = _change(since, found[step], found[since])
    first = next((step for step in before if any(step in found for found in texts)), "")
    return Fall(about[0], about[1], _direction(*about), first, start, changes)


def _since(step: str, before: Mapping[str, str | None], found: Mapping[str, object]) -> str | None:
    """The nearest step before this one that was measured too."""
    since = before[step]
    while since is not None and since not in found:
        since = before[since]
    return since


def _change(since: str, own: _At, told: _At) -> Change:
    interval = _between(Measured(own.value, own.interval), Measured(told.value, told.interval))
    is_certain = interval is not None and (interval[0] > 0 or interval[1] < 0)
    # Of a difference to the reference itself the suite's correction is known.
    by_chance = told.interval == _NOWHERE and own.is_one_of_many
    value = own.value - told.value
    return Change(since, value, interval, is_certain and not by_chance and abs(value) >= ROUNDING)


def _between(own: Measured, told: Measured) -> Interval | None:
    """From the one's lowest less the other's highest to the opposite; `None` where one has no interval."""
    if own.interval is None or told.interval is None:
        return None
    return own.interval[0] - told.interval[1], own.interval[1] - told.interval[0]


def _made(results: Results) -> dict[str, VariantFigures]:
    return {name: found for name, found in results.variants.items() if isinstance(found, VariantFigures)}


def _less(value: float, interval: Interval | None, start: float) -> _At:
    return _At(value - start, None if interval is None else (interval[0] - start, interval[1] - start))


def _times(found: _At, factor: float) -> _At:
    bounds = None if found.interval is None else (factor * found.interval[0], factor * found.interval[1])
    return _At(factor * found.value, bounds, found.is_one_of_many)


def _direction(metric: str, group: Group) -> Direction:
    if group == "benchmarks":
        return direction(benchmark(metric)) if metric in known_benchmarks() else "higher is better"
    return "higher is better" if metric.startswith("top1") else "lower is better"
