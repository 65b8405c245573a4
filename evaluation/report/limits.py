"""How far the evidence of a run goes, computed from its figures."""

import math
from collections.abc import Iterator

from evaluation.report import gate_words, words
from evaluation.report.findings import ABOVE, REFERENCE, difference
from evaluation.results import Results, VariantFigures

PLAIN = {"", "none", "None"}


def limits(results: Results) -> Iterator[str]:
    """One sentence for each reason not to read more into the figures than they hold."""
    yield from _held_out(results)
    yield from _benchmarks(results)
    yield from _variants(results)
    yield from _teacher(results)
    yield from _repetition(results)
    undecided = [gate for gate in results.gates if gate.verdict == "insufficient evidence"]
    if undecided:
        names = words.listed(gate_words.name(gate.figure) for gate in undecided)
        yield f"The evidence does not decide {words.plural(len(undecided), 'gate')}: {names}."


def _held_out(results: Results) -> Iterator[str]:
    student = results.models.get("student")
    if student is None:
        return
    n = f"{words.plural(student.documents, 'document')} and {words.number(student.tokens)} tokens"
    bounds = student.intervals.get(ABOVE)
    if bounds is None:
        yield f"Held-out loss rests on {n}; no interval was computed for it."
        return
    stderr = words.number((bounds[1] - bounds[0]) / (2 * 1.96), 2)
    yield (
        f"Held-out figures rest on {n} of the same sets that the student was trained on; the loss above the teacher "
        f"has a standard error of about {stderr} nats per token, over documents."
    )


def _benchmarks(results: Results) -> Iterator[str]:
    everything = results.capability | results.behaviour
    counts = [score.n for scores in everything.values() for score in scores.values()]
    if not counts:
        yield "No benchmark was scored, so nothing is known of what the student can still do."
        return
    n = min(counts)
    worst = 100 * math.sqrt(0.25 / n)
    yield (
        f"With n {words.number(n)}, an accuracy near 50% has a standard error of {words.number(worst, 2)} points; a "
        f"difference between two models below about {words.number(2 * math.sqrt(2) * worst, 2)} points does not show."
    )
    found = {name: difference(scores) for name, scores in everything.items()}
    unclear = [name for name, value in found.items() if value is not None and not value.distinguishable]
    if unclear:
        yield (
            f"Teacher and student are not distinguishable at this n on {words.listed(unclear)}: the difference is "
            "within 2 standard errors. That is no proof that nothing was lost."
        )


def _variants(results: Results) -> Iterator[str]:
    made = [found for found in results.variants.values() if isinstance(found, VariantFigures)]
    if not made:
        return
    tokens, repeats = min(found.parity_tokens for found in made), min(found.repeats for found in made)
    yield (
        f"Variants were compared with {REFERENCE} on {words.number(tokens)} parity tokens, and each speed is the "
        f"median of {words.plural(repeats, 'repeat')} in one process. The teacher's own speed was not measured."
    )
    scored = {model for scores in (results.capability | results.behaviour).values() for model in scores}
    if scored and not scored & set(results.variants):
        yield "The benchmarks were scored on the student as trained, not on each variant."


def _teacher(results: Results) -> Iterator[str]:
    quantization = results.lineage.teacher.get("quantization")
    if quantization and str(quantization) not in PLAIN:
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
