"""What each plot shows, in words, for whoever cannot see it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report import gate_words, words
from evaluation.results import GateResult, StageRecord, VariantFigures

Variants = Mapping[str, VariantFigures]


def loss_curves(history: Mapping[str, Any]) -> str:
    """Where validation loss began and ended, and the teacher's."""
    first, last = history["validation"][0], history["validation"][-1]
    teacher = history.get("teacher_validation_loss")
    beside = f"; the teacher's is {words.fixed(teacher)}" if teacher is not None else ""
    return (
        f"Two curves over optimizer steps. Validation loss goes from {words.fixed(first['loss'])} nats per token at "
        f"step {first['step']} to {words.fixed(last['loss'])} at step {last['step']}{beside}."
    )


def layer_ranking(ranking: Mapping[str, Any]) -> str:
    """Which layers are missed most and least."""
    losses = ranking["loss_without_layer"]
    order = sorted(range(len(losses)), key=lambda layer: -losses[layer] if math.isfinite(losses[layer]) else -math.inf)
    most, least = words.listed(map(str, order[:3])), words.listed(map(str, sorted(order[-3:])))
    return (
        f"A bar for each of {words.plural(len(losses), 'layer')}. The teacher misses layers {most} most and layers "
        f"{least} least; {len(ranking['kept'])} are kept."
    )


def quality_against_cost(variants: Variants) -> str:
    """Every variant's quality, size and speed."""
    points = (
        f"{name} {words.fixed(found.bits_per_byte)} bits per byte at {words.size(found.size_bytes)} and "
        f"{words.number(found.decode_tokens_per_second)} tokens/s"
        for name, found in variants.items()
    )
    return f"Two scatter plots, a point a variant: {'; '.join(points)}."


def size_and_memory(variants: Variants) -> str:
    """Every variant's size and peak memory."""
    bars = (
        f"{name} {words.size(found.size_bytes)} and {words.size(found.peak_memory_bytes)}"
        for name, found in variants.items()
    )
    return f"Bars of size on disk and of peak memory: {'; '.join(bars)}."


def latency_by_prompt(variants: Variants) -> str:
    """Every variant's median latencies after the shortest and the longest prompt."""
    rows = []
    for name, found in variants.items():
        lengths = sorted(found.by_prompt_tokens, key=int)
        ends = (
            [found.by_prompt_tokens[length] for length in dict.fromkeys((lengths[0], lengths[-1]))] if lengths else []
        )
        first = " to ".join(words.figure("_ms", speed.time_to_first_token_ms.p50) for speed in ends)
        later = " to ".join(words.figure("_ms", speed.inter_token_latency_ms.p50) for speed in ends)
        rows.append(f"{name} {first}, and {later} between tokens")
    return f"Dots of median latency, from the shortest prompts to the longest. To the first token: {'; '.join(rows)}."


def gate_margins(gates: Sequence[GateResult]) -> str:
    """How many gates passed, and which did not."""
    passed = sum(gate.verdict == "passed" for gate in gates)
    others = [f"{gate_words.name(gate.figure)} ({gate.verdict})" for gate in gates if gate.verdict != "passed"]
    rest = f"; not passed: {words.listed(others)}" if others else ""
    return f"A row for each gate: {passed} of {len(gates)} passed{rest}."


def stage_times(stages: Sequence[StageRecord]) -> str:
    """Which stages took longest."""
    longest = sorted(stages, key=lambda stage: -stage.seconds)[:3]
    told = words.listed(f"{stage.kind} ({words.duration(stage.seconds)})" for stage in longest)
    return f"A bar for each of {words.plural(len(stages), 'stage')}. The longest: {told}."
