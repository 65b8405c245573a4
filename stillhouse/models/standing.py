"""Where the blocks and channels of a cut student stood in its teacher."""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from stillhouse.models.decoder import Sizes
from stillhouse.models.narrow_students import WIDTHS
from stillhouse.models.narrowing import Kept, places
from stillhouse.store.artifact import FACTS


@dataclass(frozen=True)
class Standing:
    """Of every block, and of every channel where some were cut out."""

    blocks: tuple[int, ...]
    """The number that each of the student's blocks has in the teacher."""
    widths: tuple[Kept, Sizes] | None = None
    """What stayed of its channels, and the student's sizes; None where all did."""

    def inputs(self, index: int, name: str, of_teacher: Tensor) -> Tensor:
        """Of what the teacher's layer reads, [N, I], the features that the student's layer has, [N, I or fewer].

        Args:
            index: Number of the student's block.
            name: Of the linear layer within it.
            of_teacher: What the teacher's layer reads.
        """
        return self._left(index, name, of_teacher, axis=1)

    def outputs(self, index: int, name: str, of_teacher: Tensor) -> Tensor:
        """Of what the teacher's layer says, [N, O], the features that the student's layer has, [N, O or fewer]."""
        return self._left(index, name, of_teacher, axis=0)

    def _left(self, index: int, name: str, features: Tensor, *, axis: int) -> Tensor:
        if self.widths is None:
            return features
        # A weight has its outputs first.
        stay = places(f"model.layers.{index}.{name}.weight", *self.widths)[axis]
        return features if stay is None else features[:, stay]


def read_standing(start: Path) -> Standing:
    """Read it of a student that one of the stages that cut has written."""
    facts = json.loads((start / FACTS).read_text(encoding="utf-8"))
    widths = start / WIDTHS
    if not widths.is_file():
        return Standing(tuple(facts["kept_layers"]))
    record = json.loads(widths.read_text(encoding="utf-8"))
    kept = Kept(
        hidden=tuple(record["kept"]["hidden"]),
        feed_forward=tuple(map(tuple, record["kept"]["feed_forward"])),
        key_value_heads=tuple(map(tuple, record["kept"]["key_value_heads"])),
    )
    return Standing(tuple(facts["kept_layers"]), (kept, Sizes(**record["student"])))
