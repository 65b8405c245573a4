"""What every open variant can do, whatever runs it.

Shapes: T = tokens, V = vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Choose = Callable[[NDArray[np.float32]], int]
"""From the logits `[V]` of the next token to the token."""

OnStep = Callable[[int, int], bool]
"""Told a prompt's number and its new token as soon as it is known; says whether that continuation goes on."""


class NotFinite(FloatingPointError):
    """A model's logits hold NaN or infinity where a token had to be chosen."""

    def __init__(self, row: int):
        super().__init__("the model's logits are not finite: its weights, or the precision that it runs in, are broken")
        self.row = row
        """Number of the prompt within its batch."""


@dataclass(frozen=True)
class Generation:
    """A continuation."""

    ids: list[int]
    """New tokens; the last one is a stop token where one was met."""
    margins: list[float]
    """At each token, the highest logit less the second: near 0, another processor may choose otherwise."""


class LanguageModel(Protocol):
    """Two implementations: `stillhouse.serving.decoder` on ONNX Runtime, `evaluation.torch_decoder` on torch."""

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return `[T, V]`: what each position predicts next, in one pass over the whole sequence."""
        ...

    def logits_of(self, batch: Sequence[Sequence[int]], *, last: int | None = None) -> list[NDArray[np.float32]]:
        """Return `[T, V]` of each sequence, or of its `last` positions, in one pass over all of them.

        Shorter sequences are filled up on the right, where no position before can see.
        """
        ...

    def generate_with_margins(
        self,
        ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        on_token: Callable[[int], None] | None = None,
        choose: Choose | None = None,
    ) -> Generation:
        """Continue the prompt by the most likely token, or by what `choose` says of the logits.

        `on_token` is told each token as soon as it is known.
        """
        ...

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        choose: Sequence[Choose] | None = None,
        on_step: OnStep | None = None,
    ) -> list[Generation]:
        """Continue prompts side by side, keys and values of earlier tokens kept; `choose` has one chooser a prompt.

        Shorter prompts are filled up on the left, where no token sees.

        Raises:
            NotFinite: If a token cannot be chosen; its `row` is the prompt's number.
        """
        ...
