"""What both kinds of recipe say: on which data a student is measured, and as what it ships."""

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from stillhouse.recipe.benchmark import Benchmark
from stillhouse.recipe.compute import Precision
from stillhouse.recipe.data import Data
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.export import Export
from stillhouse.recipe.gates import Gate
from stillhouse.recipe.settings import Settings


class Delivery(Settings):
    """Everything that decides what is measured and what ships; nothing about where it is made."""

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
