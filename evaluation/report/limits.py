"""How far the evidence of a run goes, computed from its figures."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.benchmark_files import POOLED
from evaluation.report import gate_words, words
from evaluation.report.differences import difference
from evaluation.report.gains import ABOVE, REFERENCE
from evaluation.report.measure_words import capability_measure, measure
from evaluation.results import Results, VariantFigures
from evaluation.statistics import NORMAL
from stillhouse.training.steadiness import jumps

PLAIN = {"", "none", "None"}
SAMPLES_FOR_P99 = 100


def limits(results: Results) -> Iterator[str]:
    """One sentence for each reason not to read more into the figures than they hold."""
    yield from _held_out(results)
    yield from _benchmarks(results)
    yield from _behaviour(results)
    yield from _otherwise_asked(results)
    yield from _variants(results)
    yield from _latency(results)
    yield from _teacher(results)
    yield from _repetition(results)
    undecided = [gate for gate in results.gates if gate.verdict == "insufficient evidence"]
    if undecided:
        names = words.listed(gate_words.name(gate.figure) for gate in undecided)
        yield f"The evidence does not decide {words.plural(len(undecided), 'gate')}: {names}."


def of_training(history: Mapping[str, Any]) -> Iterator[str]:
    """A sentence where the student's training was not steady.

    Args:
        history: What it wrote down of its steps.
    """
    # Of trainings by earlier code norms may be missing.
    found = jumps([entry["gradient_norm"] for entry in history["training"] if "gradient_norm" in entry])
    if found.are_many:
        yield (
            f"The student's training was not steady: the gradient {found.told}. Trained again, with a lower rate or in "
            "another order, it may end elsewhere by more than the intervals here tell."
        )


def _held_out(results: Results) -> Iterator[str]:
    student = results.models.get("student")
    if student is None:
        return
    n = f"{words.plural(student.documents, 'document')} and {words.number(student.tokens)} tokens"
    bounds = student.intervals.get(ABOVE)
    if "teacher" not in results.models:
        yield f"Held-out figures rest on {n}. No teacher was measured, so nothing here is compared with one."
    elif bounds is None:
        yield f"Held-out loss rests on {n}; no interval was computed for it."
    else:
        stderr = words.number((bounds[1] - bounds[0]) / (2 * NORMAL), 2)
        yield (
            f"Held-out figures rest on {n} of the same sets that the student was trained on; the loss above the "
            f"teacher has a standard error of about {stderr} nats per token, over documents."
        )


def _benchmarks(results: Results) -> Iterator[str]:
    single = {key: scores for key, scores in results.capability.items() if key != POOLED}
    counts = [score.n for scores in single.values() for score in scores.values()]
    if not counts:
        yield "No benchmark was scored, so nothing is known of what the student can still do."
        return
    n = min(counts)
    worst = 100 * math.sqrt(0.25 / n)
    yield (
        f"With n {words.number(n)}, an accuracy near 50% has a standard error of {words.number(worst, 2)} points. The "
        "benchmarks are in English and their answers short: they say little of long ones, of other languages or of "
        "your task."
    )
    found = {key: difference(scores) for key, scores in single.items()}
    unclear = [key for key, one in found.items() if one is not None and not one.distinguishable]
    if unclear:
        names = words.listed(capability_measure(key).name for key in unclear)
        yield (
            f"Teacher and student are not distinguishable at this n on {names}, with all that is compared beside it. "
            "That is no proof that nothing was lost."
        )
    many = sum(len(section) for section in (results.capability, results.behaviour))
    if many > 10 and any(found.values()):
        yield (
            f"{words.number(many)} differences stand here, each with its own 95% interval: where there is no "
            "difference, one in twenty intervals still leaves out zero, by chance."
        )


def _behaviour(results: Results) -> Iterator[str]:
    counts = [score.n for scores in results.behaviour.values() for score in scores.values()]
    if counts:
        yield (
            f"The behaviour suites are small (n from {words.number(min(counts))}), all but wholly in English, and "
            "about a few biases and habits only; a model that scores well on them is not thereby safe. Generations are "
            "there to be read: nobody, and no model, judged whether they are right."
        )


def _otherwise_asked(results: Results) -> Iterator[str]:
    """What a model could not read whole, and what is for a chat and was asked of a model without a template."""
    asked = [
        (room, key, model, score)
        for room, measures in (("capability", results.capability), ("behaviour", results.behaviour))
        for key, scores in measures.items()
        for model, score in scores.items()
    ]
    cut = [
        f"{measure(room, key).name} ({model}: {words.number(score.cut)})"
        for room, key, model, score in asked
        if score.cut
    ]
    if cut:
        yield (
            "Requests longer than a model's context were read without their beginnings, which makes answers worse: "
            f"{words.listed(cut)}."
        )
    plain = [
        f"{measure(room, key).name} ({model})" for room, key, model, score in asked if score.asked_as == "plain text"
    ]
    if plain:
        yield f"For a chat, and asked as plain text since the model has no chat template: {words.listed(plain)}."


def _variants(results: Results) -> Iterator[str]:
    made = [found for found in results.variants.values() if isinstance(found, VariantFigures)]
    if not made:
        return
    tokens, repeats = min(found.parity_tokens for found in made), min(found.repeats for found in made)
    untimed = "teacher" in results.models and results.teacher_costs is None
    teacher = " The teacher's own speed was not measured." if untimed else ""
    yield (
        f"Variants were compared with {REFERENCE} on {words.number(tokens)} parity tokens, and each speed is the "
        f"median of {words.plural(repeats, 'repeat')} in one process.{teacher}"
    )
    scored = {model for scores in (results.capability | results.behaviour).values() for model in scores}
    answered = [(key, score.n) for found in made for key, score in found.capability.items() if key != POOLED]
    if answered:
        models = {
            key: max(score.n for score in scores.values()) for key, scores in results.capability.items() if scores
        }
        fewer = any(count < models.get(key, count) for key, count in answered)
        yield (
            f"Variants answered {words.number(min(count for _, count in answered))} documents of each benchmark, "
            f"{'fewer than' if fewer else 'as many as'} the models did; behaviour was measured on the student as "
            "trained only."
        )
    elif scored:
        yield "The benchmarks were scored on the student as trained, not on each variant."


def _latency(results: Results) -> Iterator[str]:
    made = [found for found in results.variants.values() if isinstance(found, VariantFigures)]
    counts = [one.time_to_first_token_ms.samples for found in made for one in found.by_prompt_tokens.values()]
    if counts and min(counts) < SAMPLES_FOR_P99:
        yield (
            f"Time to first token has {words.number(min(counts))} samples a prompt length: its p99 lies between the "
            "slowest two, and says what happened once rather than what happens once in a hundred. Nothing is known of "
            "a loaded server, where requests come and go while others run."
        )


def _teacher(results: Results) -> Iterator[str]:
    quantization = results.lineage.teacher.get("quantization")
    if "teacher" in results.models and quantization and str(quantization) not in PLAIN:
        yield (
            f"The teacher's weights had been rounded before this run saw them ({quantization}); every loss here is "
            "against the teacher in that form."
        )


def _repetition(results: Results) -> Iterator[str]:
    lineage = results.lineage
    machine = lineage.environment.get("processor") or "the processor named under Lineage"
    yield (
        f"One seed ({lineage.seed}): no interval here holds the spread between training runs. One machine "
        f"({machine}): speed and memory elsewhere will differ."
    )
    if lineage.code.get("commit", "").endswith("-dirty"):
        yield "The code differs from its commit, so the commit alone does not reproduce this run."
