"""The verdict on a run, read off its gates, and the figures to see first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evaluation.benchmark_files import POOLED, pooled_benchmarks
from evaluation.gates import blocks_run, variants_left_out
from evaluation.report import gate_words, noise_words, words
from evaluation.report.differences import bounds, difference
from evaluation.report.gains import ABOVE, SPEED
from evaluation.report.measure_words import capability_measure
from evaluation.results import GateResult, ModelFigures, Results, VariantAbsent, VariantFigures


@dataclass(frozen=True)
class Verdict:
    """What became of a run."""

    word: Literal["ships", "ships in part", "blocked", "measured"]
    """`measured` where no variant was asked for."""
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


def verdict(results: Results) -> Verdict:
    """Read the verdict off the gates: those on a variant keep it out, any other blocks the run."""
    stopped = [gate for gate in results.gates if gate.action == "block" and gate.verdict != "passed"]
    left_out = _left_out(results, stopped)
    warned = [gate for gate in results.gates if gate.action == "warn" and gate.verdict != "passed"]
    warnings = tuple(f"Only a warning: {why(gate)}." for gate in warned)
    shipped = tuple(name for name in results.variants if name not in left_out)
    if not results.variants and not stopped:
        return Verdict("measured", "was measured; no variant was asked for, so nothing ships.", (), {}, warnings)
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
    bounds = gate_words.spelled_bounds(gate)
    spread = f", {bounds}" if bounds else ""
    if gate.verdict == "failed":
        return f"{name} is {value}{spread}, and the limit is {gate.limit}"
    if gate.interval is None:
        return f"{name} is {value}, and its documents do not tell how sure that is, nor whether it is {gate.limit}"
    settled = gate_words.settled_by(gate)
    open_still = f"{name} is {value}{spread}, too wide to tell whether it is {gate.limit}"
    return f"{open_still}; {settled}" if settled else open_still


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
        yield from _held_out_tiles(teacher, student)
    elif student:
        yield Tile("Parameters", words.millions(student.parameters), f"{student.layers} layers")
        yield Tile("Bits per byte", words.figure("bits_per_byte", student.bits_per_byte), "held-out text")
    yield from _pooled_tile(results)
    yield from _variant_tiles(results, found)


def _held_out_tiles(teacher: ModelFigures, student: ModelFigures) -> Iterator[Tile]:
    above, agreement = student.held_out_loss_above_teacher_nats_per_token, student.top1_agreement_with_teacher
    if above is None or agreement is None:
        beside = f"held-out text; teacher {words.figure('bits_per_byte', teacher.bits_per_byte)}"
        yield Tile("Bits per byte", words.figure("bits_per_byte", student.bits_per_byte), beside)
        return
    spread = words.interval(ABOVE, student.intervals.get(ABOVE))
    yield Tile("Loss above teacher", words.figure(ABOVE, above), f"nats per token, {spread or 'no interval'}")
    yield Tile("Agrees with teacher", words.figure("top1_agreement", agreement), "most likely token, held-out text")


def _pooled_tile(results: Results) -> Iterator[Tile]:
    scores = results.capability.get(POOLED, {})
    one, compared = capability_measure(POOLED), difference(scores)
    if compared is not None:
        benchmarks = words.plural(len(pooled_benchmarks(results.capability)), "benchmark")
        note = f"points to the teacher, {bounds(one, compared) or 'no interval'}, {benchmarks}"
        yield Tile("Right answers", one.difference(compared.value), note)
    elif "student" in scores:
        score = scores["student"]
        yield Tile("Right answers", one.value(score.value), f"of {words.plural(score.n, 'document')}, pooled")


def _variant_tiles(results: Results, found: Verdict) -> Iterator[Tile]:
    made = {name: one for name, one in results.variants.items() if isinstance(one, VariantFigures)}
    offered = {name: one for name, one in made.items() if name in found.shipped} or made
    if offered:
        smallest = min(offered, key=lambda name: offered[name].size_bytes)
        fastest = max(offered, key=lambda name: offered[name].decode_tokens_per_second)
        whose = "shipped" if found.shipped else "made"
        yield Tile(f"Smallest variant {whose}", words.size(offered[smallest].size_bytes), smallest)
        speed = words.number(offered[fastest].decode_tokens_per_second)
        equal = noise_words.not_told_apart(fastest, offered, SPEED, results.noise_floor)
        note = f"{fastest}, not told apart from {words.listed(equal)}" if equal else fastest
        yield Tile(f"Fastest variant {whose}", speed, f"tokens/s decoded, {note}")
