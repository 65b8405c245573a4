"""What was gained and what was lost, in sentences."""

from collections.abc import Iterator, Mapping

from evaluation.benchmark_files import POOLED, pooled_benchmarks
from evaluation.report import noise_words, words
from evaluation.report.differences import UNCLEAR, difference, distance, signed
from evaluation.report.domain_tables import forgotten
from evaluation.report.measure_words import measure
from evaluation.results import ModelFigures, NoiseFloor, Results, Score, VariantFigures

ABOVE = "held_out_loss_above_teacher_nats_per_token"
SPEED = "decode_tokens_per_second"
RATIO = "bits_per_byte_ratio_to_fp32"
REFERENCE = "torch-fp32"
# What rounding in another order of summation does; beyond it, a variant answers otherwise.
SAME = 1e-4


def gained(results: Results) -> Iterator[str]:
    """What the student and its variants save, one sentence each."""
    teacher, student = results.models.get("teacher"), results.models.get("student")
    if teacher and student:
        fewer = words.percent(1 - student.parameters / teacher.parameters)
        yield (
            f"{words.number(student.parameters)} parameters instead of the teacher's "
            f"{words.number(teacher.parameters)}: {fewer} fewer, {_depth(student.layers, teacher.layers)}."
        )
    reference = results.variants.get(REFERENCE)
    for name, figures in results.variants.items():
        if isinstance(figures, VariantFigures):
            yield _variant_gain(name, figures, reference if name != REFERENCE else None, results.noise_floor)


def _depth(student: int, teacher: int) -> str:
    return f"{student} layers instead of {teacher}" if student != teacher else f"in as many layers ({student})"


def _variant_gain(name: str, figures: VariantFigures, reference: object, noise: NoiseFloor | None) -> str:
    size, speed = words.size(figures.size_bytes), words.number(figures.decode_tokens_per_second)
    memory = words.size(figures.peak_memory_bytes)
    text = f"{name}: {size} on disk, {speed} tokens/s decoded, {memory} peak memory"
    if not isinstance(reference, VariantFigures):
        return f"{text}."
    share = words.percent(figures.size_bytes / reference.size_bytes)
    faster = words.factor(figures.decode_tokens_per_second / reference.decode_tokens_per_second)
    told = f"{text}; that is {share} of {REFERENCE}'s size and"
    floor = noise_words.floor_told(noise, SPEED)
    if not noise_words.are_apart(figures, reference, SPEED, noise):
        return f"{told} no other decoding speed as far as can be told ({faster}{floor})."
    return f"{told} {faster} its decoding speed{floor}."


def lost(results: Results) -> Iterator[str]:
    """What the student lost against the teacher, one sentence each, with its interval."""
    for name in ("pruned", "student"):
        figures, teacher = results.models.get(name), results.models.get("teacher")
        if figures is not None and teacher is not None:
            yield _bits_lost(name, figures, teacher) if results.tokens_differ else _model_loss(name, figures)
    yield from forgotten(results)
    yield from _pooled_loss(results.capability)
    yield from _scores_lost("capability", results.capability)
    yield from _scores_lost("behaviour", results.behaviour)


def _bits_lost(name: str, figures: ModelFigures, teacher: ModelFigures) -> str:
    """Between two vocabularies there is no other comparison of predictions."""
    bits, beside = (words.figure("bits_per_byte", one.bits_per_byte) for one in (figures, teacher))
    return f"{_owner(name)}: {bits} bits per byte of held-out text, the teacher in its own tokens {beside}."


def _owner(name: str) -> str:
    return "Start, before any training" if name == "pruned" else "Student"


def _model_loss(name: str, figures: ModelFigures) -> str:
    parts = (
        _stated(figures, ABOVE, "{} nats per token above the teacher's held-out loss"),
        _stated(figures, "kl_to_teacher_nats_per_token", "KL to the teacher {} nats per token"),
        _stated(figures, "top1_agreement_with_teacher", "{} top-1 agreement with it"),
    )
    return f"{_owner(name)}: {'; '.join(part for part in parts if part) or 'n/a, not compared with the teacher'}."


def _stated(figures: ModelFigures, field: str, phrase: str) -> str:
    value: float | None = getattr(figures, field)
    if value is None:
        return ""
    bounds = figures.intervals.get(field)
    spread = f" ({words.interval(field, bounds)})" if bounds else ""
    return phrase.format(words.figure(field, value)) + spread


def _pooled_loss(capability: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    scores = capability.get(POOLED, {})
    found = difference(scores)
    if found is None:
        return
    benchmarks = words.plural(len(pooled_benchmarks(capability)), "benchmark")
    start = f"Pooled over {benchmarks}, {words.plural(scores['student'].n, 'document')}, the student answers"
    one = measure("capability", POOLED)
    if found.distinguishable:
        yield f"{start} {distance(one, found)} {'fewer' if found.value < 0 else 'more'} rightly than the teacher."
    else:
        yield (
            f"{start} about as many rightly as the teacher: {signed(one, found)}, "
            f"{found.reading}, which is no proof that nothing was lost."
        )


def _scores_lost(section: str, scored: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    """One sentence a measure that moved, and one for all that did not."""
    still, compared = [], 0
    for key, scores in scored.items():
        found, one = difference(scores), measure(section, key)
        if key == POOLED or found is None:
            continue
        compared += 1
        if not found.distinguishable:
            still.append(one.name)
        else:
            n = words.number(scores["student"].n)
            way = f"; {one.direction}" if section == "behaviour" and one.direction else ""
            yield f"{one.name}: {distance(one, found)} {found.reading} (n {n}){way}."
    if still and section == "behaviour":
        # Their names are long, and the tables have them.
        yield f"{words.number(len(still))} of {words.plural(compared, 'measure')} of behaviour: {UNCLEAR}."
    elif still:
        yield f"{words.listed(still)}: {UNCLEAR}."


def variants_lost(results: Results) -> Iterator[str]:
    """What every other variant lost against `torch-fp32`, one sentence each."""
    for name, figures in results.variants.items():
        if name == REFERENCE or not isinstance(figures, VariantFigures):
            continue
        ratio, bounds = figures.bits_per_byte_ratio_to_fp32, figures.intervals.get(RATIO)
        if abs(ratio - 1) < SAME and figures.kl_to_fp32 < SAME:
            yield f"{name}: nothing measurable."
            continue
        more, agrees = _more(ratio), words.percent(figures.top1_agreement)
        spread = f" ({_more(bounds[0])}{words.TO}{_more(bounds[1])})" if bounds else ""
        yield f"{name}: {more} bits per byte{spread}; the same most likely token at {agrees} of positions."


def _more(ratio: float) -> str:
    # One decimal, whatever `words.fixed` would add to a small one.
    share = round(100 * (ratio - 1), 1) + 0.0
    return f"{'+' if share > 0 else ''}{words.fixed(share, 1)}%"
