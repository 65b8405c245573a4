"""What the figures of a run say, in sentences: the verdict, what was gained and lost, how far the evidence goes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evaluation.gates import blocks_run, variants_left_out
from evaluation.report import gate_words, words
from evaluation.results import (
    GateResult,
    ModelFigures,
    Results,
    Score,
    VariantAbsent,
    VariantFigures,
)

ABOVE = "held_out_loss_above_teacher_nats_per_token"
REFERENCE = "torch-fp32"


@dataclass(frozen=True)
class Verdict:
    """What became of a run."""

    word: Literal["ships", "ships in part", "blocked"]
    sentence: str
    """One plain sentence, without the run's name."""
    shipped: tuple[str, ...]
    """Variants that ship."""
    left_out: dict[str, str]
    """Variants that do not, and why."""
    warnings: tuple[str, ...]
    """One sentence for each gate that only warns and did not pass."""


@dataclass(frozen=True)
class Tile:
    """One figure to see first."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Difference:
    """A student's score less the teacher's."""

    value: float
    stderr: float
    """Both standard errors added in quadrature, as if the models had seen different documents."""

    @property
    def distinguishable(self) -> bool:
        """Whether it lies more than two of its standard errors from zero."""
        return abs(self.value) > 2 * self.stderr

    @property
    def reading(self) -> str:
        """What it says, in words."""
        if not self.distinguishable:
            return "not distinguishable at this n"
        return "above the teacher" if self.value > 0 else "below the teacher"


def verdict(results: Results) -> Verdict:
    """Read the verdict off the gates: those on a variant keep it out, any other blocks the run."""
    stopped = [gate for gate in results.gates if gate.action == "block" and gate.verdict != "passed"]
    left_out = _left_out(results, stopped)
    warned = [gate for gate in results.gates if gate.action == "warn" and gate.verdict != "passed"]
    warnings = tuple(f"Only a warning: {why(gate)}." for gate in warned)
    shipped = tuple(name for name in results.variants if name not in left_out)
    if blocks_run(results.gates) or not shipped:
        blocking = [gate for gate in stopped if not _on_variant(gate)]
        return Verdict("blocked", _blocked(blocking, left_out), (), left_out, warnings)
    word: Literal["ships", "ships in part"] = "ships in part" if left_out else "ships"
    return Verdict(word, _ships(results, shipped, left_out), shipped, left_out, warnings)


def why(gate: GateResult, whose: str = "") -> str:
    """What a gate that did not pass found, and its limit.

    Args:
        gate: The gate.
        whose: `its`, where the sentence has named the owner already.
    """
    found = gate_words.subject(gate.figure)
    owner = whose or (f"the {found.owner}'s" if not _on_variant(gate) else f"{found.owner}'s")
    name = f"{owner} {found.name}" if found.owner else found.name
    if gate.value is None:
        return f"{name} was not measured, so nothing shows that it is {gate.limit}"
    value = f"{gate_words.spelled(gate.value, gate.limit)} {found.unit}".rstrip()
    bounds = gate_words.spelled_interval(gate.interval, gate.limit)
    spread = f", 95% interval {bounds}" if bounds else ""
    if gate.verdict == "failed":
        return f"{name} is {value}{spread}, and the limit is {gate.limit}"
    return f"{name} is {value}{spread}, too wide to tell whether it is {gate.limit}"


def _on_variant(gate: GateResult) -> bool:
    return gate.figure.startswith("variants.")


def _left_out(results: Results, stopped: list[GateResult]) -> dict[str, str]:
    """Variants that do not ship though nothing blocks the run, and why."""
    absent = {
        name: f"not made: {found.reason}"
        for name, found in results.variants.items()
        if isinstance(found, VariantAbsent)
    }
    reasons = {
        name: " and ".join(
            why(gate, "its") for gate in stopped if _on_variant(gate) and gate_words.subject(gate.figure).owner == name
        )
        for name in variants_left_out(results.gates)
    }
    told = results.package.left_out if results.package else {}
    return told | reasons | absent


def _blocked(blocking: list[GateResult], left_out: dict[str, str]) -> str:
    if blocking:
        return f"is blocked by {words.plural(len(blocking), 'gate')}: {'; '.join(map(why, blocking))}."
    reasons = words.listed(f"{name} ({reason})" for name, reason in left_out.items())
    return f"is blocked, because no variant may ship: {reasons}."


def _ships(results: Results, shipped: tuple[str, ...], left_out: dict[str, str]) -> str:
    required = [gate for gate in results.gates if gate.action == "block"]
    passed = sum(gate.verdict == "passed" for gate in required)
    every = "all " if passed == len(required) > 1 else "" if passed == len(required) else f"{passed} of "
    gates = f"{every}{words.plural(len(required), 'blocking gate')} passed"
    without = words.listed(f"{name} ({reason})" for name, reason in left_out.items())
    kept = f", without {without}" if left_out else ""
    return f"ships as {words.listed(shipped)}{kept}; {gates if required else 'its recipe sets no blocking gate'}."


def tiles(results: Results, found: Verdict) -> Iterator[Tile]:
    """The few figures to see first."""
    teacher, student = results.models.get("teacher"), results.models.get("student")
    if teacher and student:
        less = words.percent(1 - student.parameters / teacher.parameters)
        note = f"teacher {words.millions(teacher.parameters)}, {less} fewer"
        yield Tile("Parameters", words.millions(student.parameters), note)
        above = student.held_out_loss_above_teacher_nats_per_token
        spread = words.interval(ABOVE, student.intervals.get(ABOVE))
        yield Tile("Loss above teacher", words.figure(ABOVE, above), f"nats per token, {spread or 'no interval'}")
        share = words.figure("top1_agreement", student.top1_agreement_with_teacher)
        yield Tile("Agrees with teacher", share, "most likely token, held-out text")
    made = {name: one for name, one in results.variants.items() if isinstance(one, VariantFigures)}
    offered = {name: one for name, one in made.items() if name in found.shipped} or made
    if offered:
        smallest = min(offered, key=lambda name: offered[name].size_bytes)
        fastest = max(offered, key=lambda name: offered[name].decode_tokens_per_second)
        whose = "shipped" if found.shipped else "made"
        yield Tile(f"Smallest variant {whose}", words.size(offered[smallest].size_bytes), smallest)
        speed = words.number(offered[fastest].decode_tokens_per_second)
        yield Tile(f"Fastest variant {whose}", speed, f"tokens/s decoded, {fastest}")


def difference(scores: dict[str, Score], model: str = "student", reference: str = "teacher") -> Difference | None:
    """One model's score less another's on the same benchmark; None where one of them was not scored."""
    if model not in scores or reference not in scores:
        return None
    one, other = scores[model], scores[reference]
    return Difference(one.value - other.value, math.hypot(one.stderr, other.stderr))


def gained(results: Results) -> Iterator[str]:
    """What the student and its variants save, one sentence each."""
    teacher, student = results.models.get("teacher"), results.models.get("student")
    if teacher and student:
        fewer = words.percent(1 - student.parameters / teacher.parameters)
        yield (
            f"{words.number(student.parameters)} parameters instead of the teacher's "
            f"{words.number(teacher.parameters)}: {fewer} fewer, {student.layers} layers instead of {teacher.layers}."
        )
    reference = results.variants.get(REFERENCE)
    for name, figures in results.variants.items():
        if isinstance(figures, VariantFigures):
            yield _variant_gain(name, figures, reference if name != REFERENCE else None)


def _variant_gain(name: str, figures: VariantFigures, reference: object) -> str:
    size, speed = words.size(figures.size_bytes), words.number(figures.decode_tokens_per_second)
    memory = words.size(figures.peak_memory_bytes)
    text = f"{name}: {size} on disk, {speed} tokens/s decoded, {memory} peak memory"
    if not isinstance(reference, VariantFigures):
        return f"{text}."
    share = words.percent(figures.size_bytes / reference.size_bytes)
    faster = words.factor(figures.decode_tokens_per_second / reference.decode_tokens_per_second)
    return f"{text}; that is {share} of {REFERENCE}'s size and {faster} its decoding speed."


def lost(results: Results) -> Iterator[str]:
    """What is worse than the teacher, one sentence each, with its interval or standard error."""
    for name in ("pruned", "student"):
        figures = results.models.get(name)
        if figures is not None:
            yield _model_loss(name, figures)
    for section in (results.capability, results.behaviour):
        for benchmark, scores in section.items():
            yield _benchmark_loss(benchmark, scores)


def _model_loss(name: str, figures: ModelFigures) -> str:
    owner = "Start, before any training" if name == "pruned" else "Student"
    parts = (
        _stated(figures, ABOVE, "{} nats per token above the teacher's held-out loss"),
        _stated(figures, "kl_to_teacher_nats_per_token", "KL to the teacher {} nats per token"),
        _stated(figures, "top1_agreement_with_teacher", "{} top-1 agreement with it"),
    )
    return f"{owner}: {'; '.join(part for part in parts if part) or 'n/a, not compared with the teacher'}."


def _stated(figures: ModelFigures, field: str, phrase: str) -> str:
    value: float | None = getattr(figures, field)
    if value is None:
        return ""
    bounds = figures.intervals.get(field)
    spread = f" ({words.interval(field, bounds)})" if bounds else ""
    return phrase.format(words.figure(field, value)) + spread


def _benchmark_loss(benchmark: str, scores: dict[str, Score]) -> str:
    found = difference(scores)
    if found is None:
        return f"{benchmark}: n/a, because teacher and student were not both scored."
    n = words.number(scores["student"].n)
    value, stderr = words.signed(found.value), words.fixed(found.stderr)
    return f"{benchmark}: {value} (standard error {stderr}, n {n}), {found.reading}."
