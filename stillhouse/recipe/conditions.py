"""Where numbers are computed, and from which seed: what every recipe and request says, `auto` allowed."""

from typing import Literal

from pydantic import Field, PositiveInt

from stillhouse.recipe.compute import Precision
from stillhouse.recipe.settings import Settings


class Conditions(Settings):
    """A device, a precision, a thread count and a seed, not decided yet; see `Compute` for what becomes of them."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides splits, data order and sampling."""
    device: str = "auto"
    """`auto` takes a GPU where torch finds one; or any torch device, `cpu`, `cuda:1`, `mps`."""
    precision: Precision | Literal["auto"] = "auto"
    """`auto` times both once per device model and library versions, and remembers the answer."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """CPU threads; `auto` takes the cores this process may use."""
