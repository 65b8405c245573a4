"""The two kinds of recipe, and how they are read from YAML."""

from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import ValidationError, model_validator

from stillhouse.errors import InputError
from stillhouse.recipe.across import check_data, check_tokenizers
from stillhouse.recipe.changes import NO_CHANGES, Changes
from stillhouse.recipe.continual import Continual, check_rounds, knowledge_of_round
from stillhouse.recipe.curriculum import Curriculum
from stillhouse.recipe.data import names_of
from stillhouse.recipe.delivery import Delivery
from stillhouse.recipe.distillation import Distillation, check_agreement
from stillhouse.recipe.knowledge import (
    Knowledge,
    MovingAverage,
    Online,
    check_domains,
    check_features,
    check_knowledge,
    check_moving_average,
    check_on_policy,
    check_unasked,
)
from stillhouse.recipe.losses import ForwardKl
from stillhouse.recipe.refit import Refit, check_refit
from stillhouse.recipe.route import BornAgain, Direct, Progressive, Route, check_layers_of_route, check_route
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import Student
from stillhouse.recipe.teacher import Teacher
from stillhouse.recipe.training_compute import TrainingCompute, check_writes

Kind = TypeVar("Kind", bound=Settings)


class Recipe(Delivery):
    """From a teacher to a package: `stillhouse run`."""

    teacher: Teacher
    """The model whose knowledge is distilled."""
    student: Student
    """What the student starts from."""
    refit: Refit | None = None
    """Fit the blocks that are left, from the first gap on, to what the teacher says, before any training; not done when
    left out."""
    route: Route = Direct()
    """Whether the teacher itself teaches the student, or students in between."""
    knowledge: Knowledge = Online()
    """How the teacher is asked what it knows of a text."""
    distillation: Distillation = Distillation()
    """How the student is trained."""
    curriculum: Curriculum | None = None
    """In which order the training texts come, and which are left out; shuffled and all of them when left out."""
    compute: TrainingCompute = TrainingCompute()
    """What the training is spread over, and what it saves."""

    @property
    def before(self) -> tuple["Recipe", ...]:
        """This recipe as it is for each student on a progressive route, in their order."""
        if not isinstance(self.route, Progressive):
            return ()
        return tuple(
            self.model_copy(update={"student": link.student, "distillation": self._training_of(link.steps)})
            for link in self.route.through
        )

    @property
    def rounds(self) -> tuple["Recipe", ...]:
        """This recipe as it is in each round of a continual route."""
        if not isinstance(self.route, Continual):
            return ()
        return tuple(
            self.model_copy(
                update={
                    "knowledge": knowledge_of_round(self.route, number, self.knowledge),
                    "distillation": self._training_of(told.steps),
                }
            )
            for number, told in enumerate(self.route.rounds)
        )

    @property
    def first_generation(self) -> "Recipe":
        """This recipe as it is for the first generation of a born-again route."""
        if not isinstance(self.route, BornAgain) or self.route.first == "teacher":
            return self
        nobody = {"alpha": 0.0, "temperature": 1.0, "loss": ForwardKl(), "features": None, "on_policy": None}
        distillation = self.distillation.model_copy(update=nobody)
        return self.model_copy(update={"knowledge": Online(), "distillation": distillation})

    def _training_of(self, steps: int | None) -> Distillation:
        """How a student on the way is trained: as this one, but perhaps for so many steps."""
        return self.distillation.model_copy(update={"steps": steps or self.distillation.steps})

    @model_validator(mode="after")
    def _route_suits_the_rest(self) -> Self:
        asks = self.distillation.asks_teacher
        check_route(self.route, self.student, self.knowledge.kind, asks_teacher=asks)
        if isinstance(self.route, Continual):
            check_rounds(self.route, names_of(self.data.sets), self.knowledge, asks_teacher=asks)
            if self.distillation.features is not None:
                for each in self.rounds:
                    check_features(each.knowledge, self.distillation.features)
        for each in (*self.before, *self.rounds):
            check_agreement(each.distillation)
        if not isinstance(self.route, Direct) and self.distillation.features is not None:
            check_layers_of_route(self.route.kind, self.distillation.features.layers)
        return self

    @model_validator(mode="after")
    def _students_can_be_refitted(self) -> Self:
        if self.refit is not None:
            check_refit(self.refit, [self.student, *(link.student for link in self.before)], self.data)
        return self

    @model_validator(mode="after")
    def _tokenizers_suit_the_rest(self) -> Self:
        check_tokenizers(self.student, self.distillation, self.knowledge, self.route)
        check_data(self.student, self.distillation, self.data)
        return self

    @model_validator(mode="after")
    def _knowledge_suits_the_loss(self) -> Self:
        if self.distillation.asks_teacher:
            check_knowledge(self.knowledge, self.distillation.loss, self.distillation.temperature)
        else:
            check_unasked(self.knowledge)
        if self.distillation.features is not None:
            check_features(self.knowledge, self.distillation.features)
        if isinstance(self.knowledge, MovingAverage):
            has_lora = self.compute.lora is not None
            asked = self.distillation
            check_moving_average(
                self.knowledge, asked.alpha, asked.temperature, self.compute.processes, has_lora=has_lora
            )
        if self.distillation.on_policy is not None:
            longest = self.distillation.on_policy.max_new_tokens
            check_on_policy(self.knowledge, longest, self.data.sequence_length)
            check_writes(self.compute)
        check_domains(self.knowledge, names_of(self.data.sets))
        return self


class ExportRecipe(Delivery):
    """From a model that exists to a package: `stillhouse export`, which may name the model itself."""

    model: Teacher
    """The model that ships; in the tables it is the student."""


def load_recipe(path: Path, changes: Changes = NO_CHANGES) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: The file.
        changes: What is done otherwise than the file says.

    Raises:
        InputError: If the file is missing, is not UTF-8 text, is not YAML, is not a mapping, or does not fit the
            schema; the message names the key.
    """
    content = _read_mapping(path)
    if changes == NO_CHANGES:
        return validated(Recipe, content, str(path))
    return validated(Recipe, changes.applied(content), f"{path} with the changes that were asked")


def load_export_recipe(path: Path, changes: dict[str, Any]) -> ExportRecipe:
    """Read a recipe of an export from YAML; `changes` are keys that the command line gives instead.

    Raises:
        InputError: As `load_recipe`.
    """
    return validated(ExportRecipe, _read_mapping(path) | changes, str(path))


def validated(kind: type[Kind], content: dict[str, Any], origin: str) -> Kind:
    """Check a mapping against a recipe's schema.

    Args:
        kind: Which recipe.
        content: The mapping.
        origin: Where it comes from, for the message.

    Raises:
        InputError: If it does not fit; the message names each key.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{origin} does not fit the schema:\n{_lines(error)}") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        shipped = ", ".join(sorted(f"recipes/{each.name}" for each in _SHIPPED.glob("*.yaml")))
        raise InputError(f"no recipe at {path}; the shipped ones are {shipped}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file (byte {error.start} is not UTF-8); a recipe is YAML") from None
    # A date that no calendar has is a plain ValueError.
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        raise InputError(f"{path} is empty; a recipe needs at least name, teacher, data and student")
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a mapping; a recipe is `key: value` lines")
    return content


_SHIPPED = Path(__file__).parents[2] / "recipes"


def _lines(error: ValidationError) -> str:
    """One line a mistake: the key as it stands in the file, what is allowed, what was seen."""
    return "\n".join(
        f"  {'.'.join(str(part) for part in item['loc'] if part != 'number') or 'recipe'}: {item['msg']}"
        + ("" if item["type"] in ("missing", "value_error") else f" (got {str(item['input'])[:80]!r})")
        + ("; see docs/recipe.md for the allowed keys" if item["type"] == "extra_forbidden" else "")
        for item in error.errors()
    )
