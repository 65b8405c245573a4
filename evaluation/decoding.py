"""How an answer is written, token by token, and what is kept of it.

Shapes: V = vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.serving.nucleus import draw

NEW_TOKENS = 256
"""Where lm-eval cuts an answer if its task does not say."""


@dataclass(frozen=True)
class Decoding:
    """How an answer is written."""

    new_tokens: int
    """Where it is cut."""
    until: tuple[str, ...] = ()
    """Texts that end it, besides the model's own end tokens."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    """The most likely tokens that hold this share are drawn from."""
    seed: int = 0
    """Decides the draws."""

    @classmethod
    def of_request(cls, asked: Mapping[str, Any]) -> "Decoding":
        """Read lm-eval's `generation_kwargs`.

        Raises:
            ValueError: If there is a setting that is not heeded here.
        """
        known = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "seed"}
        if unknown := set(asked) - known:
            raise ValueError(f"unknown generation_kwargs {', '.join(sorted(unknown))}; known are {', '.join(known)}")
        until = asked.get("until") or ()
        return cls(
            new_tokens=asked.get("max_gen_toks", NEW_TOKENS),
            until=(until,) if isinstance(until, str) else tuple(until),
            temperature=asked.get("temperature", 1.0) if asked.get("do_sample") else 0.0,
            top_p=asked.get("top_p", 1.0),
            seed=asked.get("seed", 0),
        )


@dataclass(frozen=True)
class Written:
    """The tokens of one answer."""

    ids: tuple[int, ...]
    """All of them, the end token included where there is one."""
    ended: bool
    """Whether the model ended it."""


def draw_token(logits_V: NDArray[np.float32], decoding: Decoding, generator: np.random.Generator) -> int:
    """Draw the next token; every runtime draws with this, so that equal logits give equal answers."""
    return draw(logits_V, decoding.temperature, decoding.top_p, generator)


def generator_of(decoding: Decoding, number: int) -> np.random.Generator:
    """What a request's tokens are drawn from, whichever requests are answered beside it."""
    return np.random.default_rng([decoding.seed, number])


def all_end_ids(tokenizer: Any, stated: Sequence[int]) -> frozenset[int]:
    """Return the tokens that end an answer: the tokenizer's, and those that the model's folder states."""
    return frozenset({int(tokenizer.eos_token_id), *stated})


def until_end(ids: Sequence[int], end_ids: frozenset[int]) -> Written:
    """Cut what follows the end token: padding, where others of the batch went on."""
    place = next((number for number, token in enumerate(ids) if token in end_ids), None)
    return Written(tuple(ids if place is None else ids[: place + 1]), ended=place is not None)


def text_of(tokenizer: Any, answer: Written, decoding: Decoding) -> str:
    """Return an answer as text, special tokens left out, up to the first text that ends it."""
    text = str(tokenizer.decode(answer.ids, skip_special_tokens=True))
    for stop in decoding.until:
        text = text.split(stop)[0]
    return text
