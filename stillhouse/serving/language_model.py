"""What every open variant can do, whatever runs it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Generation:
    """A greedy continuation."""

    ids: list[int]
    """New tokens; the last one is a stop token where one was met."""
    margins: list[float]
    """Of each token, its logit less the second highest: near 0, another processor may choose otherwise."""


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
    ) -> Generation:
        """Continue the prompt greedily; `on_token` is told each token as soon as it is known."""
        ...
