"""Teachers beside the recipe's first: of an ensemble, of a round of their own, and those that answer prompts."""

from dataclasses import dataclass
from pathlib import Path

from flows.starts import refuse_other_tokenizer
from flows.trainable import check_reader, check_writer
from stillhouse.errors import InputError
from stillhouse.models.shape import ModelShape
from stillhouse.models.sources import describe, resolve_model, tokenizer_of
from stillhouse.recipe import Recipe
from stillhouse.recipe.continual import Continual
from stillhouse.recipe.data import Data
from stillhouse.recipe.knowledge import OTHER_WAYS, Ensemble
from stillhouse.recipe.source import Source
from stillhouse.recipe.teacher import Teacher


@dataclass(frozen=True)
class FoundTeacher:
    """A teacher that exists."""

    source: Source
    shape: ModelShape


def members_of_ensemble(recipe: Recipe, base: Path, teacher: Source) -> tuple[FoundTeacher, ...]:
    """The other teachers of an ensemble; none where a single one is asked."""
    if not isinstance(recipe.knowledge, Ensemble):
        return ()
    return tuple(_another_teacher(member.teacher, recipe, base, teacher) for member in recipe.knowledge.members)


def teachers_of_rounds(recipe: Recipe, base: Path, teacher: Source) -> tuple[FoundTeacher | None, ...]:
    """The teacher of each round of a continual route; `None` where that is the recipe's."""
    if not isinstance(recipe.route, Continual):
        return ()
    asked = [told.teacher for told in recipe.route.rounds]
    return tuple(None if other is None else _another_teacher(other, recipe, base, teacher) for other in asked)


def teachers_that_answer(data: Data, base: Path) -> tuple[FoundTeacher, ...]:
    """The other teachers that answer prompts, whose tokens may be any.

    Args:
        data: The recipe's section.
        base: Folder that relative paths start from.

    Raises:
        InputError: If one is not there, cannot be read, has no chat template, or no room for prompt and answer.
    """
    return tuple(_answering(other.teacher, data.answers.max_new_tokens, base) for other in data.answers.others)


def _answering(asked: Teacher, longest_answer: int, base: Path) -> FoundTeacher:
    trusted = asked.trust_remote_code
    source = resolve_model(asked.source, base=base, revision=asked.revision, trust_remote_code=trusted)
    if tokenizer_of(source, trust_remote_code=trusted).chat_template is None:
        raise InputError(
            f"{source.name} has no chat template, and data.answers.others lets it answer prompts; take a teacher with "
            "one, or let another answer them"
        )
    check_writer(source, trust_remote_code=trusted)
    shape = describe(source, trust_remote_code=trusted)
    if longest_answer >= shape.context_length:
        raise InputError(
            f"data.answers.max_new_tokens is {longest_answer}, but the context of {source.name} holds "
            f"{shape.context_length} tokens, prompt and answer together; make it shorter"
        )
    return FoundTeacher(source, shape)


def _another_teacher(asked: Teacher, recipe: Recipe, base: Path, teacher: Source) -> FoundTeacher:
    """Find a teacher that is not the recipe's first, whose tokens must be the same."""
    trusted = asked.trust_remote_code
    source = resolve_model(asked.source, base=base, revision=asked.revision, trust_remote_code=trusted)
    refuse_other_tokenizer(teacher, source, instead=OTHER_WAYS)
    check_reader(source, recipe.data.sequence_length, trust_remote_code=trusted)
    shape = describe(source, trust_remote_code=trusted)
    # How far its head is filled up is its own matter: every teacher is cut to the tokenizer's vocabulary.
    if recipe.data.sequence_length > shape.context_length:
        raise InputError(
            f"data.sequence_length is {recipe.data.sequence_length}, but the context of {source.name} holds "
            f"{shape.context_length} tokens; make it shorter"
        )
    return FoundTeacher(source, shape)
