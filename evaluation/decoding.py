"""How an answer is written, token by token, and what is kept of it.

Shapes: T = tokens, V = vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SORTED = 1024
"""Tokens that nearly always hold the nucleus."""


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
            new_tokens=asked.get("max_gen_toks", 256),
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


def log_softmax(logits_TV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `[T, V]`: log-probabilities of the next token."""
    wide_TV = logits_TV.astype(np.float64)
    wide_TV -= wide_TV.max(axis=-1, keepdims=True)
    shifted: NDArray[np.float64] = wide_TV - np.log(np.exp(wide_TV).sum(axis=-1, keepdims=True))
    return shifted


def nucleus(logits_V: NDArray[np.float32], temperature: float, top_p: float) -> NDArray[np.float64]:
    """Return `[V]`: probabilities of the fewest tokens that hold `top_p` (Holtzman et al., 2020, arXiv:1904.09751)."""
    shares_V: NDArray[np.float64] = np.exp(log_softmax(logits_V[None] / temperature)[0])
    order = _likeliest(shares_V, top_p)
    before = np.cumsum(shares_V[order]) - shares_V[order]
    kept = order[before < top_p]
    chosen_V = np.zeros_like(shares_V)
    chosen_V[kept] = shares_V[kept] / shares_V[kept].sum()
    return chosen_V


def draw_token(logits_V: NDArray[np.float32], decoding: Decoding, generator: np.random.Generator) -> int:
    """Draw the next token; every runtime draws with this, so that equal logits give equal answers."""
    shares_V = nucleus(logits_V, decoding.temperature, decoding.top_p)
    return int(np.searchsorted(np.cumsum(shares_V), generator.random() * shares_V.sum(), side="right"))


def generator_of(decoding: Decoding, number: int) -> np.random.Generator:
    """What a request's tokens are drawn from, whichever requests are answered beside it."""
    return np.random.default_rng([decoding.seed, number])


def _likeliest(shares_V: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Tokens by falling probability, at least as many as hold `top_p`: sorting all would take most of the time."""
    if len(shares_V) > _SORTED:
        some = np.sort(np.argpartition(-shares_V, _SORTED)[:_SORTED])
        if shares_V[some].sum() >= top_p:
            return some[np.argsort(-shares_V[some], kind="stable")]
    return np.argsort(-shares_V, kind="stable")


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
