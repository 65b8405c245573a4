"""Which figures a gate may limit and what they may be compared with: refused before anything runs, and why."""

import difflib
from collections.abc import Iterator, Mapping
from typing import get_args

from pydantic import BaseModel

from evaluation.forgetting import RATIO, gated_domains
from evaluation.measure_names import behaviour_measures, capability_measures
from evaluation.results import ModelFigures, Percentiles, Score, Speed, VariantFigures
from evaluation.statistics import FEWEST_UNITS
from stillhouse.errors import InputError
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.delivery import Delivery
from stillhouse.recipe.gates import Gate
from stillhouse.recipe.recipe import Recipe
from stillhouse.recipe.student import has_own_tokenizer

# Of these both models' totals are kept by document, so that a margin can be judged.
_BY_DOCUMENT = {
    "models": ("held_out_loss_nats_per_token", "bits_per_byte"),
    "variants": ("bits_per_byte",),
}
_BESIDE_TEACHER = (
    "held_out_loss_above_teacher_nats_per_token",
    "kl_to_teacher_nats_per_token",
    "top1_agreement_with_teacher",
)
# Measured on held-out text, so that documents say how sure they are.
_MEASURED = {
    "models": (
        "held_out_loss_nats_per_token",
        "bits_per_byte",
        *_BESIDE_TEACHER,
        "calibration_error",
    ),
    "variants": (
        "bits_per_byte",
        "bits_per_byte_ratio_to_fp32",
        "kl_to_fp32",
        "top1_agreement",
        "greedy_prefix_tokens",
    ),
    "domains": (RATIO,),
}
# Of a score; its other numbers say how sure it is, which is a gate's `confidence`.
_OF_SCORES = ("value", "difference_to_teacher")
_SCORES = ("capability", "behaviour")
# Absolute values, which two models have by chance in different measure.
_BIASED = ("calibration_error",)
_REFERENCE_VARIANT = "torch-fp32"


_PAIRED_WORDS = (
    "compared document by document are differences of scores, held-out loss and bits per byte of models, and bits per "
    "byte of variants"
)


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
        for figure in _OF_SCORES
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
        InputError: If no stage of the recipe produces the figure, `relative_to` names nothing to compare with, a margin
            is on a figure that nothing pairs document by document, or tokens are compared that are not the same.
    """
    figures = figures_of(recipe)
    tokens_differ = isinstance(recipe, Recipe) and has_own_tokenizer(recipe.student)
    for gate in recipe.gates:
        if (figure := _score_of(gate, figures)) is not None:
            raise InputError(
                f"gates has the figure {gate.figure!r}, which says how sure a score is and not how good; of scores "
                f"{' and '.join(_OF_SCORES)} are limited: set figure: {figure}, and confidence to how sure it must be"
            )
        if gate.figure not in figures:
            near = difflib.get_close_matches(gate.figure, sorted(figures), n=3)
            meant = f"near it are {', '.join(near)}" if near else "docs/results.md lists the figures"
            raise InputError(f"gates has the figure {gate.figure!r}, which no stage of this recipe produces; {meant}")
        if gate.relative_to is not None and reference_path(gate) not in figures:
            raise InputError(_why_not_relative(gate))
        if tokens_differ and _compares_tokens(gate):
            raise InputError(
                f"gates compares {gate.figure!r} with the teacher's token by token, and the student has a tokenizer of "
                "its own: of held-out text only bits per byte are of both; set figure: models.student.bits_per_byte "
                "with relative_to: teacher, or a limit on a figure of the student alone"
            )
        if _is_drawn_to_zero(gate):
            raise InputError(
                f"gates compares {gate.figure!r} with the teacher's, an absolute value, which has some by chance, and "
                "a model that errs less has more of it: the difference of two is drawn towards 0, and would pass too "
                "often; gate calibration_brier or calibration_overconfidence, or set at_most on the student's own value"
            )
        if gate.margin is not None and not _is_paired(gate):
            raise InputError(_why_no_margin(gate))
        if gate.relative_to is not None and (is_score(gate) or is_measured(gate)) and not _is_paired(gate):
            raise InputError(
                f"gates compares {gate.figure!r} with {gate.relative_to} by {gate.compare}, and nothing shows how sure "
                f"that is: {_PAIRED_WORDS}; set compare: difference, or a limit without relative_to"
            )


def check_documents(recipe: Delivery, by_set: Mapping[str, int]) -> None:
    """Refuse gates that would block whatever is found, since held-out text is of too few documents.

    Args:
        recipe: With its gates.
        by_set: Documents of each data set in the held-out split, known once the data are; those of a set's own
            held-out file bear its name with `/held-out`.

    Raises:
        InputError: Naming the gate, and what to do.
    """
    for gate in recipe.gates:
        room, owner, *_ = gate.figure.split(".")
        own = (owner, f"{owner}/held-out") if room == "domains" else tuple(by_set)
        documents = sum(by_set.get(name, 0) for name in own)
        if is_measured(gate) and gate.action == "block" and documents < FEWEST_UNITS:
            whose = f" of {owner}" if room == "domains" else ""
            raise InputError(
                f"gates limits {gate.figure!r}, and the held-out split holds {documents} documents{whose}: fewer than "
                f"{FEWEST_UNITS} tell no interval, so the gate would block whatever is found; give more documents or "
                "raise data.held_out_tokens, set the gate's action to warn, or leave it out"
            )


def _score_of(gate: Gate, figures: frozenset[str]) -> str | None:
    """The value of the score that a gate takes another number of; `None` for any other gate."""
    owner, _, figure = gate.figure.rpartition(".")
    value = f"{owner}.value"
    others = set(Score.model_fields) - set(_OF_SCORES)
    return value if figure in others and value in figures else None


def _compares_tokens(gate: Gate) -> bool:
    """Say whether a gate compares what a model and its teacher make of the same tokens."""
    room, _, *path = gate.figure.split(".")
    figure = path[-1]
    if room != "models" or figure not in _MEASURED["models"]:
        return False
    return figure in _BESIDE_TEACHER or (gate.relative_to is not None and figure != "bits_per_byte")


def _compares(figure: str) -> bool:
    """Say whether a figure is a comparison with the teacher, or with the variant that others are compared with."""
    return figure.rsplit(".", 1)[1] in (*_BESIDE_TEACHER, *_OF_SCORES[1:])


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
            yield from (f"capability.{name}.{figure}" for figure in _OF_SCORES)


def _numbers(part: type[BaseModel]) -> Iterator[str]:
    """Paths of the numbers in a part of the results."""
    for name, field in part.model_fields.items():
        kinds = set(get_args(field.annotation)) or {field.annotation}
        if kinds & {int, float}:
            yield name
        elif field.annotation is Percentiles:
            yield from (f"{name}.{inner}" for inner in _numbers(Percentiles))


def reference_path(gate: Gate) -> str | None:
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


def _is_drawn_to_zero(gate: Gate) -> bool:
    """Say whether a gate limits a difference of absolute values, by either name that it has."""
    room, measure, *_, figure = gate.figure.split(".")
    differs = gate.relative_to is not None or figure.startswith("difference")
    return room == "behaviour" and measure in _BIASED and differs


def _is_paired(gate: Gate) -> bool:
    """Say whether both figures that a gate compares are known document by document."""
    room, *_, figure = gate.figure.split(".")
    if is_of_scores(gate):
        return figure == "value" and gate.compare == "difference"
    return figure in _BY_DOCUMENT.get(room, ())


def _why_no_margin(gate: Gate) -> str:
    if is_of_scores(gate):
        allowed = "under capability and behaviour a margin is for a value, by compare: difference"
    else:
        paths = (f"{room}.NAME.{figure}" for room, figures in _BY_DOCUMENT.items() for figure in figures)
        allowed = f"a margin is for {', '.join(paths)} and for the values of capability and behaviour"
    return (
        f"gates has a margin on {gate.figure!r} by {gate.compare}, of which the documents of both are not compared one "
        f"by one, so that nothing shows how sure it is; {allowed}; here set at_most or at_least"
    )


def is_measured(gate: Gate) -> bool:
    """Say whether a gate limits what was measured on held-out text, whose documents say how sure it is."""
    room, _, *path = gate.figure.split(".")
    return len(path) == 1 and path[0] in _MEASURED.get(room, ())


def is_score(gate: Gate) -> bool:
    """Say whether a gate limits a score, or what sets it off the teacher's: a few documents alone decide nothing."""
    name = gate.figure.rsplit(".", 1)[1]
    return is_of_scores(gate) and name in _OF_SCORES


def is_of_scores(gate: Gate) -> bool:
    """Say whether a figure stands in a score of a model, or of a variant."""
    room, _, *path = gate.figure.split(".")
    return room in _SCORES or (room == "variants" and path[0] == "capability")
