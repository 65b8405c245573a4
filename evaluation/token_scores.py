"""How likely a model takes an answer to be: the sum of its tokens' log-probabilities, many answers in a pass.

Shapes: T = tokens, V = vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillhouse.serving.language_model import LanguageModel, NotFinite

_LOGITS_BYTES = 2**29
"""Logits of one pass: at 49,152 tokens of vocabulary these are 2,730 positions."""


class Pair(NamedTuple):
    """What is read and what is scored behind it, as tokens."""

    context: tuple[int, ...]
    answer: tuple[int, ...]

    def read(self, context_tokens: int) -> tuple[int, ...]:
        """What the model reads: all but the last token, its beginning cut where it is longer than the context."""
        return (self.context + self.answer)[-(context_tokens + 1) : -1]


class TokenScore(NamedTuple):
    """What a model makes of an answer."""

    log_prob: float
    """Summed over its tokens, in nats."""
    is_greedy: bool
    """Whether each of its tokens is the model's most likely one."""


def score_pairs(model: LanguageModel, pairs: Sequence[Pair], context_tokens: int) -> list[TokenScore]:
    """Score answers in one pass; those that the same tokens lead up to (yes and no) are read once.

    Raises:
        NotFinite: If a score is not a number; its `row` is the pair's number.
    """
    reads = [pair.read(context_tokens) for pair in pairs]
    rows = {read: row for row, read in enumerate(dict.fromkeys(reads))}
    found = model.logits_of(list(rows), last=max(len(pair.answer) for pair in pairs))
    scores = [answer_score(found[rows[read]], pair.answer) for read, pair in zip(reads, pairs, strict=True)]
    for number, score in enumerate(scores):
        if not np.isfinite(score.log_prob):
            raise NotFinite(number)
    return scores


def answer_score(logits_TV: NDArray[np.float32], answer: Sequence[int]) -> TokenScore:
    """Score an answer by the logits that end where its last token is predicted.

    Exponentials are taken in fp32 and summed in float64: their error, 1e-7, is far below what batching moves, and in
    float64 they would take as long as a small model's pass.
    """
    ending_TV = logits_TV[-len(answer) :]
    highest_T = ending_TV.max(axis=1)
    # NaN and infinity go through to the score, which is looked at.
    with np.errstate(invalid="ignore", over="ignore"):
        sums_T = np.exp(ending_TV - highest_T[:, None]).sum(axis=1, dtype=np.float64)
        chosen_T = ending_TV[np.arange(len(answer)), list(answer)].astype(np.float64)
        total = float((chosen_T - highest_T - np.log(sums_T)).sum())
    return TokenScore(total, bool((ending_TV.argmax(axis=1) == np.asarray(answer)).all()))


def batches_of(reads: Sequence[tuple[int, ...]], size: int, vocabulary: int) -> list[list[int]]:
    """Put what is read into batches, the longest first; equal ones count as one.

    Args:
        reads: Tokens that each request has the model read.
        size: Most of them side by side.
        vocabulary: Logits a position, which limit the batch as well.

    Returns:
        Numbers of the requests, batch by batch.
    """
    sharing: dict[tuple[int, ...], list[int]] = {}
    for number, read in enumerate(reads):
        sharing.setdefault(read, []).append(number)
    batches: list[list[int]] = []
    rows, most = 0, 0
    for read in sorted(sharing, key=lambda read: (-len(read), read)):
        if rows == most:
            rows, most = 0, max(1, min(size, _LOGITS_BYTES // (4 * vocabulary * max(1, len(read)))))
            batches.append([])
        batches[-1] += sharing[read]
        rows += 1
    return batches
