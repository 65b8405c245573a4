"""A token drawn from a model's logits: numpy alone, so that every runtime draws alike.

Shapes: T = tokens, V = vocabulary.
"""

import numpy as np
from numpy.typing import NDArray

_SORTED = 1024
"""Tokens that nearly always hold the nucleus."""


def log_softmax(logits_TV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `[T, V]`: log-probabilities of the next token."""
    wide_TV = logits_TV.astype(np.float64)
    wide_TV -= wide_TV.max(axis=-1, keepdims=True)
    shifted: NDArray[np.float64] = wide_TV - np.log(np.exp(wide_TV).sum(axis=-1, keepdims=True))
    return shifted


def entropy(logits_V: NDArray[np.float32]) -> float:
    """Return the entropy of the next token in nats, at temperature 1."""
    log_probs_V = log_softmax(logits_V[None])[0]
    # A token that cannot come adds nothing, and 0 times minus infinity would be no number.
    return -float(np.exp(log_probs_V) @ np.maximum(log_probs_V, np.finfo(np.float64).min))


def nucleus(logits_V: NDArray[np.float32], temperature: float, top_p: float) -> NDArray[np.float64]:
    """Return `[V]`: probabilities of the fewest tokens that hold `top_p` (Holtzman et al., 2020, arXiv:1904.09751)."""
    shares_V: NDArray[np.float64] = np.exp(log_softmax(logits_V[None] / temperature)[0])
    order = _likeliest(shares_V, top_p)
    before = np.cumsum(shares_V[order]) - shares_V[order]
    kept = order[before < top_p]
    chosen_V = np.zeros_like(shares_V)
    chosen_V[kept] = shares_V[kept] / shares_V[kept].sum()
    return chosen_V


def draw(logits_V: NDArray[np.float32], temperature: float, top_p: float, generator: np.random.Generator) -> int:
    """Draw the next token from the nucleus; equal logits and an equal state of the generator give an equal token."""
    shares_V = nucleus(logits_V, temperature, top_p)
    return int(np.searchsorted(np.cumsum(shares_V), generator.random() * shares_V.sum(), side="right"))


def _likeliest(shares_V: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Tokens by falling probability, at least as many as hold `top_p`: sorting all would take most of the time."""
    if len(shares_V) > _SORTED:
        some = np.sort(np.argpartition(-shares_V, _SORTED)[:_SORTED])
        if shares_V[some].sum() >= top_p:
            return some[np.argsort(-shares_V[some], kind="stable")]
    return np.argsort(-shares_V, kind="stable")
