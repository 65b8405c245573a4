"""What every open variant can do, whatever runs it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Choose = Callable[[NDArray[np.float32]], int]
"""From the logits `[V]` of the next token to the token."""


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
