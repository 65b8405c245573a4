"""The whole recipe, and how it is read from YAML."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator

from stillhouse.errors import InputError
from stillhouse.recipe.benchmark import Benchmark
from stillhouse.recipe.compute import Precision
from stillhouse.recipe.data import Data
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.export import Export
from stillhouse.recipe.gates import Gate
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import Student
from stillhouse.recipe.teacher import Teacher


class Recipe(Settings):
    """Everything that decides what a run makes; nothing about where it is made."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Names the run's folder and the package: lower-case letters, digits, dots, dashes, underscores; not `store`."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides splits, data order and sampling."""
    device: str = "auto"
    """`auto` takes a GPU where torch finds one; or any torch device, `cpu`, `cuda:1`, `mps`."""
    precision: Precision | Literal["auto"] = "auto"
    """`auto` times both once per device model and library versions, and remembers the answer."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """CPU threads; `auto` takes the cores this process may use."""
    teacher: Teacher
    """The model whose knowledge is distilled."""
    data: Data
    """What it is distilled on."""
    student: Student
    """What the student starts from."""
    distillation: Distillation = Distillation()
    """How the student is trained."""
    evaluation: Evaluation = Evaluation()
    """What is measured of the models."""
    export: Export = Export()
    """Which variants are made."""
    benchmark: Benchmark = Benchmark()
    """How speed and memory are measured."""
    gates: tuple[Gate, ...] = ()
    """What must hold for the student, and each variant, to ship."""

    @field_validator("name")
    @classmethod
    def _not_the_store(cls, value: str) -> str:
        if value == "store":
            raise ValueError("a run called store would lie in the store's own folder; take another name")
        return value

    @field_validator("teacher", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        InputError: If the file is missing, is not UTF-8 text, is not YAML, is not a mapping, or does not fit the
            schema; the message names the key.
    """
    if not path.is_file():
        raise InputError(f"no recipe at {path}; the shipped ones are recipes/demo.yaml and recipes/tiny.yaml")
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
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path} does not fit the recipe's schema:\n{_lines(error)}") from None


def _lines(error: ValidationError) -> str:
    """One line a mistake: the key as it stands in the file, what is allowed, what was seen."""
    return "\n".join(
        f"  {'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}"
        + ("" if item["type"] in ("missing", "value_error") else f" (got {str(item['input'])[:80]!r})")
        + ("; see docs/recipe.md for the allowed keys" if item["type"] == "extra_forbidden" else "")
        for item in error.errors()
    )
