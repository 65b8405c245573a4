"""How a run's figures were found, in short paragraphs that its own settings fill in."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.report import distillation_words, start_words, words
from evaluation.results import Results, VariantFigures
from stillhouse.recipe.distillation import Distillation

Paragraph = tuple[str, str]
"""A heading, and what follows it."""
_FEW_STARTS = 5
"""Up to so many a bootstrap's interval of their median is from the least to the greatest."""
SUITES = {
    "stereoset": "StereoSet, with the scores of its authors",
    "typos": "benchmarks asked again with typing errors in their questions",
    "generations": "answers to prompts, greedy and sampled",
    "calibration": "how sure the models are of their answers to the benchmarks",
    "bias": "BBQ, CrowS-Pairs and pronouns of occupations",
    "harm": "toxic continuations, refusals of harmful and of harmless requests, injected orders",
    "robustness": "benchmarks whose questions are asked otherwise",
    "responses": "several sampled responses to each prompt, beside one another",
    "recitation": "runs of training text in what the models write",
}


def methods(results: Results, told: Mapping[str, Mapping[str, Any]] | None = None) -> list[Paragraph]:
    """What was done, a paragraph a subject; a subject that is no part of the run is left out.

    Args:
        results: The run.
        told: Content of `behaviour.json`, which says of each measure how it was found.
    """
    recipe = results.lineage.recipe
    found = (
        ("Data", _data(results, recipe.get("data", {}))),
        ("Start", start_words.start(recipe.get("student", {}), recipe.get("refit"))),
        ("Distillation", _distillation(results, recipe.get("distillation", {}))),
        ("Held-out text", _held_out(results)),
        ("Capability", _capability(results, recipe.get("evaluation", {}))),
        ("Behaviour", _behaviour(results, told or {})),
        ("Variants and parity", _parity(results, recipe.get("evaluation", {}))),
        ("Speed and memory", _benchmark(results, recipe.get("benchmark", {}))),
        ("Intervals", _intervals(results)),
        ("Gates", _gates(results)),
    )
    return [(heading, " ".join(sentences)) for heading, parts in found if (sentences := list(parts))]


def _data(results: Results, data: Mapping[str, Any]) -> Iterator[str]:
    names = [str(one.get("name", "a set")) for one in results.lineage.data]
    if not names:
        return
    yield f"Texts come from {words.listed(names)}. Repeated texts are dropped."
    yield (
        "Which split a text belongs to is decided by a hash of the text and the seed: 90% train, 5% validation, 5% "
        "held out, unless a set brings its own held-out file. Choices are made on validation text; held-out text is "
        "only reported on."
    )
    if length := data.get("sequence_length"):
        yield f"Texts longer than {words.number(length)} tokens are cut into pieces."
    if any(one.get("name") in ("nq-open", "reasoning-gym") for one in results.lineage.data):
        yield "Prompts that come without an answer are answered greedily, by the teacher where there is one."
    if told := results.lineage.answers:
        yield (
            f"Of {words.plural(int(told['prompts']), 'prompt')} {words.number(told['answers'])} were answered so; "
            f"{words.percent(told['ended_share'])} of the answers ended by themselves"
            + (f", and {words.number(told['too_long'])} left the context no room." if told["too_long"] else ".")
        )
    if sampled := (data.get("answers") or {}).get("sampled"):
        yield (
            f"Those that are trained on are answered {words.plural(sampled['samples'], 'time')} instead, by sampling "
            f"at temperature {sampled['temperature']:g}, top-p {sampled['top_p']:g}, from the seed; what is measured "
            "on is answered greedily."
        )
    for other in (data.get("answers") or {}).get("others", ()):
        who, sets = other["teacher"]["source"], words.listed(other["serves"])
        yield f"All of this is done by {who} where prompts are of {sets}."


def _distillation(results: Results, settings: Mapping[str, Any]) -> Iterator[str]:
    if not settings or "teacher" not in results.models:
        return
    yield distillation_words.loss(settings)
    is_asked = Distillation.model_validate(settings).asks_teacher
    yield distillation_words.knowledge(results.lineage.recipe.get("knowledge") or {}, is_asked=is_asked)
    yield from distillation_words.on_policy(settings)
    yield from distillation_words.route(results.lineage.recipe.get("route") or {}, is_asked=is_asked)
    yield from distillation_words.curriculum(results.lineage.recipe.get("curriculum") or {})
    steps = settings.get("steps")
    length = f"{words.plural(steps, 'step')}" if steps else "one pass over the training rows"
    rows = settings.get("batch_rows", 1) * settings.get("accumulation", 1)
    yield (
        f"AdamW, {length}, {words.plural(rows, 'row')} a step; the learning rate rises for "
        f"{words.plural(settings.get('warmup_steps', 0), 'step')} to {settings.get('learning_rate', 0):g} and falls "
        f"along a cosine to {words.percent(settings.get('final_learning_rate_share', 0))} of it."
    )


def _held_out(results: Results) -> Iterator[str]:
    if not results.models:
        return
    yield (
        "Each model reads the held-out texts in fp32 and is asked for every next token that counts; of a prompt with "
        "its answer only the answer counts."
    )
    if results.tokens_differ:
        yield (
            "The student has a tokenizer of its own. The teacher reads the same texts in its own tokens, and what both "
            "predict is compared in bits per byte; loss per token, KL and agreement do not exist between two "
            "vocabularies."
        )
    elif "teacher" in results.models:
        yield "The teacher reads the same positions, so loss, KL and agreement are compared token by token."


def _capability(results: Results, settings: Mapping[str, Any]) -> Iterator[str]:
    if results.capability:
        documents = words.number(settings.get("documents"))
        yield (
            "Scored by lm-eval. Prompts and metrics are those of its task files where it has one for the documents, "
            "and else of this project's descriptions (docs/capability.md); no examples stand before a question unless "
            f"its benchmark says so. The documents come from installed packages: of each benchmark {documents}, or all "
            "where it holds fewer, spread evenly over its file and the same for every model. The pooled row counts the "
            "documents of all benchmarks alike that have right and wrong answers."
        )


def _behaviour(results: Results, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    suites = [suite for suite in SUITES if any(key.startswith(suite) for key in results.behaviour)]
    if suites:
        yield f"Measured by {words.listed(SUITES[suite] for suite in suites)}; the same for every model."
    stated = [str(told[key]["method"]) for key in results.behaviour if key in told]
    yield from (f"{text[0].upper()}{text[1:].rstrip('.')}." for text in dict.fromkeys(stated))


def _made(results: Results) -> list[VariantFigures]:
    return [found for found in results.variants.values() if isinstance(found, VariantFigures)]


def _parity(results: Results, settings: Mapping[str, Any]) -> Iterator[str]:
    made = _made(results)
    if not made:
        return
    yield (
        "Every variant is saved, opened again from its saved folder in a process of its own, and compared with "
        f"torch-fp32 at the same positions of {words.number(made[0].parity_tokens)} held-out tokens."
    )
    if tokens := settings.get("greedy_tokens"):
        yield f"The beginnings of held-out texts are continued greedily by {words.number(tokens)} tokens."
    for name, found in results.variants.items():
        if isinstance(found, VariantFigures) and found.candidates:
            tried = words.listed(one.kind for one in found.candidates)
            tokens = words.number(found.candidates[0].validation_tokens)
            yield f"{name} was made as {tried}, and the nearest to onnx-fp32 on {tokens} validation tokens was kept."


def _benchmark(results: Results, settings: Mapping[str, Any]) -> Iterator[str]:
    made = _made(results)
    if not made:
        return
    lengths = words.listed(
        words.number(length) for length in sorted({int(n) for one in made for n in one.by_prompt_tokens})
    )
    yield (
        "Each variant runs in a fresh process that holds nothing else, while every other stage waits; one request at "
        f"a time, {words.plural(made[0].threads, 'thread')}, greedy, prompts of {lengths} random tokens."
    )
    if settings.get("warmup") and settings.get("new_tokens"):
        yield (
            f"After {words.plural(settings['warmup'], 'untimed repeat')}, {words.plural(made[0].repeats, 'repeat')} of "
            f"{words.plural(settings['new_tokens'], 'token')} each, every token timed: the first counts as time to "
            "first token, each later one as time between tokens."
        )
    yield (
        "Peak memory is the process's highest resident memory (VmHWM), Python and libraries included; what it held "
        "before it opened the model is told apart. Size is every file of the variant's folder."
    )
    if sizes := sorted({int(size) for one in made for size in one.by_batch_size}):
        yield (
            f"In further processes {words.listed(map(words.number, sizes))} prompts are continued side by side, unless "
            "one changes what the others are answered."
        )
    if any(one.starts for one in made):
        yield (
            f"A start is from the start of a process to its first token; {words.number(made[0].starts)} with the "
            "variant's files dropped from this system's file cache (posix_fadvise) and as many with them in it. Python "
            "and the libraries stay cached, as may what a disk or a host holds."
        )
        yield from _few_starts(made[0].starts)
    if results.noise_floor is not None:
        yield (
            f"{results.noise_floor.variant} was measured again after all others: the ratio of its two measurements, at "
            "95% by bootstrap over repeats, is the A/A noise floor of each figure. Two variants differ in a figure "
            "where their intervals are apart by more."
        )


def _few_starts(starts: int | None) -> Iterator[str]:
    """A bootstrap over few gives the least and the greatest, which miss the median where all lie on one side of it."""
    if starts is not None and starts <= _FEW_STARTS:
        cases = words.number(round(100 * (1 - 0.5 ** (starts - 1))))
        yield (
            f"The interval over {words.number(starts)} starts is from the fastest to the slowest: it holds the median "
            f"of many in {cases} cases of 100, not in 95."
        )


def _intervals(results: Results) -> Iterator[str]:
    if results.models or results.variants or results.capability:
        yield (
            "Every interval is at 95%, where it does not say otherwise. Those of differences between two shares of "
            "documents are worked out (Agresti and Min), which gives them a width where all documents agree. The "
            "others are by bootstrap (percentiles of 2,000 draws): for StereoSet target terms are drawn, for speed "
            "whole repeats, for every other mean documents, those that share a passage as one. Tokens never are, since "
            "tokens of one document resemble each other."
        )
    if "teacher" in results.models and results.capability:
        yield (
            "Differences are paired: a document counts with both models' answers, so what makes it hard for both "
            "cancels. A difference whose interval holds zero is not called one, nor one that the number of comparisons "
            "explains: p-values, by McNemar's exact test for shares and by bootstrap for the rest (Student's t if no "
            "draw reaches zero), are corrected over a model's benchmarks, and over its measures of behaviour (Holm)."
        )


def _gates(results: Results) -> Iterator[str]:
    if not results.gates:
        return
    yield (
        "A gate passes only where the bound that holds at its confidence keeps to the limit (the value, for a size or "
        "a ratio without bounds; a score without them is no evidence), and fails only where the other bound is beyond "
        "it. Between the two the evidence is insufficient, which blocks as a failure does. A gate on a variant keeps "
        "that variant out; any other blocks the run. Bounds of one share of documents are Wilson's, of the difference "
        "of two shares Tango's, of all other means by bootstrap over documents; times, whose repeats are drawn, take "
        "their 95% interval drawn in to the gate's confidence."
    )
    if any(gate.margin is not None for gate in results.gates):
        yield (
            "A gate with a margin is a test of non-inferiority: it passes where the documents show that the figure is "
            "no worse than the reference by more than the margin."
        )
