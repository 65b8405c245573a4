"""What a student starts from, as far as preflight can tell: its size, its source, and what cannot work."""

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.estimate import Link
from stillhouse.errors import InputError
from stillhouse.models.checkpoint import shape_of_config
from stillhouse.models.decoder import read_decoder, write_sizes
from stillhouse.models.fresh import fresh_config
from stillhouse.models.shape import ModelShape
from stillhouse.models.sources import config_of, describe, resolve_model, tokenizer_of
from stillhouse.models.tokenizer import tokenizer_digest
from stillhouse.models.widths import plan_widths
from stillhouse.recipe.across import WAYS
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.pruned import DepthAndWidthPruned, DepthPruned, Pruned, WidthPruned
from stillhouse.recipe.recipe import Recipe
from stillhouse.recipe.route import BornAgain, Direct, Progressive
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import ExistingModel, Fresh, Student, TrainedTokenizer, has_own_tokenizer


@dataclass(frozen=True)
class Start:
    """A student before it is trained."""

    student: Student
    """What the recipe asks, with a file that it names read."""
    source: Source | None
    """Where a model that exists lies; None where the student is made here."""
    shape: ModelShape
    """Its size."""


@dataclass(frozen=True)
class _Above:
    """What a student is cut from: the teacher, or on a progressive route the student before."""

    name: str
    """What errors call it."""
    shape: ModelShape
    """Its size."""
    config: Any
    """What transformers makes of it."""


def examine_students(recipe: Recipe, base: Path, teacher: Source, shape: ModelShape) -> list[Start]:
    """Find out what the students start from, and how large they are: those on the way first, the recipe's own last.

    Args:
        recipe: Whose students they are.
        base: Folder that relative paths start from.
        teacher: Where the teacher lies.
        shape: The teacher's size.

    Raises:
        InputError: Naming what was seen, what is allowed and what to do.
    """
    above = _Above(teacher.name, shape, config_of(teacher, trust_remote_code=recipe.teacher.trust_remote_code))
    found = []
    if isinstance(recipe.route, Progressive):
        for number, link in enumerate(recipe.route.through, start=1):
            name = f"student {number} of route.through"
            try:
                above = _cut(link.student, above, name)
            except InputError as error:
                # It names settings of a `student`, of which the recipe has several.
                raise InputError(f"{name}: {error}") from None
            found.append(Start(link.student, None, above.shape))
    return [*found, _examine_start(recipe.student, base, teacher, above)]


def _examine_start(student: Student, base: Path, teacher: Source, above: _Above) -> Start:
    shape = above.shape
    match student:
        case DepthPruned() | WidthPruned() | DepthAndWidthPruned():
            return Start(student, None, _cut(student, above, "the student").shape)
        case LowRank(cut=cut):
            # What is saved is the product, as large as what it stands for.
            left = shape if cut is None else _cut(cut, above, "the student").shape
            _refuse_blocks(student, left)
            return Start(student, None, left)
        case Fresh():
            read = student.model_copy(update={"config": _read_config(student.config, base)})
            tokens = read.tokenizer.vocabulary if isinstance(read.tokenizer, TrainedTokenizer) else None
            return Start(
                read, None, shape_of_config(fresh_config(read, above.config, teacher.name, tokens), "student.config")
            )
        case ExistingModel():
            found = _existing(student, base, teacher)
            own = describe(found, trust_remote_code=student.trust_remote_code)
            if not has_own_tokenizer(student) and own.vocabulary_size != shape.vocabulary_size:
                raise InputError(
                    f"{teacher.name} predicts {shape.vocabulary_size} tokens and {found.name} {own.vocabulary_size}, "
                    "padding included, and their distributions are compared place by place; resize one embedding"
                )
            return Start(student, found, own)


def examine_route(
    recipe: Recipe,
    shape: ModelShape,
    students: Sequence[Start],
    of_rounds: Sequence[ModelShape],
) -> list[Link]:
    """Find out what the trainings are before that of the recipe's own student.

    Args:
        recipe: Whose route it is.
        shape: Size of the first teacher.
        students: Those on the way, and the recipe's own.
        of_rounds: Sizes of the teachers of a continual route's rounds; empty on another route.

    Raises:
        InputError: If one is not smaller than its teacher, or no larger than the recipe's student.
    """
    student = students[-1].shape
    match recipe.route:
        case Direct():
            return []
        case BornAgain(generations=generations):
            # The first is taught by the teacher, if at all, the others by a model of the student's size.
            # All begin as the last does, whose start is counted.
            again = Link(recipe, student, student, is_cut=False)
            begun = replace(again, recipe=recipe.first_generation, teacher=shape)
            return [begun, *[again] * (generations - 2)]
        case Continual():
            later = zip(_later_rounds(recipe), of_rounds[1:], strict=True)
            return [Link(each, own, student, is_cut=False) for each, own in later]
        case Progressive():
            found: list[Link] = []
            for number, (told, start) in enumerate(zip(recipe.before, students[:-1], strict=True), start=1):
                above = found[-1].student if found else shape
                _refuse_size(f"student {number} of route.through", start.shape, above, "the one before it")
                found.append(Link(told, above, start.shape, start.source))
            _refuse_size("the recipe's student", student, found[-1].student, "the last of route.through")
            return found


def _later_rounds(recipe: Recipe) -> Iterator[Recipe]:
    """What the rounds after the first add to one training on all text: what is replayed, and that nothing is cut.

    How much text a set has is not known yet; what is replayed is told as if they were alike. The first round that takes
    as many steps as its text gives stands for one training on all text.
    """
    assert isinstance(recipe.route, Continual)
    count, first = len(recipe.rounds), recipe.rounds[0]
    is_counted = first.distillation.steps is None
    for number, each in enumerate(recipe.rounds[1:], start=1):
        tokens = max(1, round(recipe.data.train_tokens * recipe.route.replay * number / count))
        if not is_counted and each.distillation.steps is None:
            tokens, is_counted = tokens + recipe.data.train_tokens, True
        yield each.model_copy(update={"data": recipe.data.model_copy(update={"train_tokens": tokens})})


def _refuse_size(what: str, own: ModelShape, above: ModelShape, whom: str) -> None:
    if own.parameters >= above.parameters:
        raise InputError(
            f"{what} has {own.parameters / 1e6:,.1f}M parameters, and {whom}, which teaches it, "
            f"{above.parameters / 1e6:,.1f}M; each student on a progressive route is smaller than its teacher"
        )


def _refuse_blocks(student: LowRank, left: ModelShape) -> None:
    if student.blocks != "all" and max(student.blocks) >= left.layers:
        raise InputError(
            f"student.blocks names block {max(student.blocks)}, and the student has blocks 0 to {left.layers - 1}: "
            "leave it out"
        )


def _cut(student: Pruned, above: _Above, name: str) -> _Above:
    """What is left of a model, from which the next student may be cut; `name` is what errors call it."""
    shape, config = above.shape, deepcopy(above.config)
    match student:
        case DepthPruned(layers=layers):
            if layers > shape.layers:
                raise InputError(
                    f"student.layers is {layers}, but {above.name} has {shape.layers} layers; "
                    f"keep between 1 and {shape.layers}"
                )
            config.get_text_config(decoder=True).num_hidden_layers = layers
            return _Above(name, shape.with_layers(layers), config)
        case WidthPruned() | DepthAndWidthPruned():
            asked = student.layers if isinstance(student, DepthAndWidthPruned) else shape.layers
            decoder = read_decoder(config, above.name)
            sizes = plan_widths(student, asked, decoder, above.name)
            write_sizes(config, sizes)
            left = {"layers": sizes.layers, "hidden_size": sizes.hidden_size, "parameters": decoder.parameters(sizes)}
            return _Above(name, replace(shape, **left), config)


def _read_config(config: dict[str, Any] | str | None, base: Path) -> dict[str, Any] | None:
    """A config that is written in the recipe, or in the file that the recipe names."""
    if not isinstance(config, str):
        return config
    path = (base / Path(config).expanduser()).resolve()
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"no config at {path}; student.config is the path of a config.json, or the config itself")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"student.config {path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise InputError(f"student.config {path} names no architecture; give it model_type, as `llama` or `gpt2`")
    return content


def _existing(student: ExistingModel, base: Path, teacher: Source) -> Source:
    found = resolve_model(
        student.source,
        base=base,
        revision=student.revision,
        trust_remote_code=student.trust_remote_code,
        role="student",
    )
    if not has_own_tokenizer(student):
        refuse_other_tokenizer(teacher, found, instead=WAYS)
    elif tokenizer_digest(tokenizer_of(teacher)) == tokenizer_digest(tokenizer_of(found)):
        raise InputError(
            f"student.tokenizer is own, but {found.name} has the tokenizer of {teacher.name}; leave it out, and take a "
            "loss over one vocabulary, which tells far more"
        )
    return found


def refuse_other_template(teacher: Source, student: Source) -> None:
    """Refuse conversations of which the two models would read different renderings.

    Raises:
        InputError: If their chat templates differ.
    """
    if tokenizer_of(teacher).chat_template != tokenizer_of(student).chat_template:
        raise InputError(
            f"the data hold prompts or messages, and {student.name} has another chat template than {teacher.name}, so "
            "the two would not read the same text; take data of plain text, a model with that template, or a fresh "
            "student with student.tokenizer {kind: trained}"
        )


def refuse_other_tokenizer(teacher: Source, student: Source, *, instead: str = "") -> None:
    """Compare token by token: a student whose ids mean other words would learn noise, with a falling loss.

    Args:
        teacher: Whose tokenizer is used.
        student: What is compared with it.
        instead: What may be done with such a model all the same.

    Raises:
        InputError: If the ids of the two mean different tokens.
    """
    one, other = tokenizer_of(teacher), tokenizer_of(student)
    if tokenizer_digest(one) != tokenizer_digest(other):
        raise InputError(
            f"the tokenizers differ: {teacher.name} has {len(one)} tokens and {student.name} has {len(other)}, "
            f"and not the same ones in the same places; take a model with the tokenizer of {teacher.name}"
            f"{f', or {instead}' if instead else ''}"
        )
