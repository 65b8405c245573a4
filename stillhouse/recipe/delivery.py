"""What both kinds of recipe say: on which data a student is measured, and as what it ships."""

from pydantic import Field, field_validator

from stillhouse.recipe.benchmark import Benchmark
from stillhouse.recipe.conditions import Conditions
from stillhouse.recipe.data import Data
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.export import Export
from stillhouse.recipe.gates import Gate


class Delivery(Conditions):
    """Everything that decides what is measured and what ships; nothing about where it is made."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Names the run's folder and the package: lower-case letters, digits, dots, dashes, underscores; not `store`."""
    data: Data
    """What is trained, calibrated and measured on."""
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
