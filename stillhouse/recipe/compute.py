"""Where and how numbers are computed: the part of a recipe that every stage shares."""

from typing import Literal

from pydantic import Field

from stillhouse.recipe.settings import Settings

Precision = Literal["fp32", "bf16"]


class Compute(Settings):
    """A device, a precision, a thread count and a seed, each decided: nothing in here is `auto`."""

    device: str
    """A torch device: `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Precision
    """Arithmetic of the training step: fp32, or bf16 autocast over fp32 master weights."""
    threads: int = Field(gt=0)
    """CPU threads; part of the key, because sums over another number of threads round differently."""
    seed: int
    """Decides data order, splits and sampling."""
