"""What several responses to each prompt are like: pure functions of texts and tokens, for teacher and student alike.

A group is the responses to one prompt.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from stillhouse.data.splits import normalised


@dataclass(frozen=True)
class Response:
    """What a model wrote to a prompt."""

    prompt: str
    """Id of the prompt."""
    text: str
    ids: tuple[int, ...]
    """Its tokens, the one that ends the turn included."""
    ended: bool
    """Whether the model ended it."""
    entropy: float
    """Mean over its tokens of the entropy in nats, at temperature 1, of the distribution that each was drawn from."""
    right: bool | None = None
    """What a verifier says; `None` where the prompt has none."""


def summary(groups: Sequence[Sequence[Response]]) -> dict[str, float | None]:
    """Statistics over all responses; `None` where there is nothing that they could be of."""
    responses = [response for group in groups for response in group]
    tokens = [len(response.ids) for response in responses]
    ids = [response.ids for response in responses]
    texts = [[response.text for response in group] for group in groups]
    judged = [[response.right for response in group if response.right is not None] for group in groups]
    p10, p50, p90 = np.percentile(tokens, [10, 50, 90]).tolist() if tokens else (None, None, None)
    spoken = sum(tokens)
    return {
        "tokens_mean": mean(tokens),
        "tokens_p10": p10,
        "tokens_p50": p50,
        "tokens_p90": p90,
        "ended_share": mean([response.ended for response in responses]),
        "token_entropy_nats": sum(each.entropy * len(each.ids) for each in responses) / spoken if spoken else None,
        "sample_entropy_nats": mean([sample_entropy(group) for group in texts if group]),
        "distinct_1": distinct(ids, 1),
        "distinct_2": distinct(ids, 2),
        "duplicate_share": mean([repeated for group in texts for repeated in repeats(group)]),
        "agreement": mean([one for group in texts if len(group) > 1 for one in agreements(group)]),
        "verified_share": mean([right for group in judged for right in group]),
        "verified_prompts_share": mean([any(group) for group in judged if group]),
    }


def mean(values: Sequence[float]) -> float | None:
    """The mean; `None` of nothing."""
    return sum(values) / len(values) if values else None


def distinct(ids: Sequence[Sequence[int]], n: int) -> float | None:
    """Different runs of n tokens over all runs of n tokens (Li et al., 2016, arXiv:1510.03055).

    It falls with the number of texts, since words come again: compare it between equally many.
    """
    runs = [tuple(each[start : start + n]) for each in ids for start in range(len(each) - n + 1)]
    return len(set(runs)) / len(runs) if runs else None


def repeats(texts: Sequence[str]) -> list[bool]:
    """Of each text whether an earlier one says the same, case and white space aside."""
    known: set[str] = set()
    found = []
    for text in map(normalised, texts):
        found.append(text in known)
        known.add(text)
    return found


def sample_entropy(texts: Sequence[str]) -> float:
    """Entropy in nats of the shares of texts that say the same: 0 if all do, ln N if none of N does."""
    shares = [count / len(texts) for count in Counter(map(normalised, texts)).values()]
    # Not 0 less a sum: of texts that all say the same that is -0.
    return sum(share * math.log(1 / share) for share in shares)


def agreements(texts: Sequence[str]) -> list[float]:
    """Of each of two texts or more its mean agreement with the others.

    The text that agrees most is the one of least Bayes risk among the samples (Kumar and Byrne, 2004); where answers
    are short and alike or not, it is one of the majority.
    """
    sums = [0.0] * len(texts)
    for (one, text), (other, beside) in combinations(enumerate(texts), 2):
        found = agreement(text, beside)
        sums[one] += found
        sums[other] += found
    return [total / (len(texts) - 1) for total in sums]


def agreement(one: str, other: str) -> float:
    """F1 of the two texts' words: twice the shared ones over all of both; 1 if neither has any."""
    words, others = Counter(normalised(one).split()), Counter(normalised(other).split())
    number = words.total() + others.total()
    return 2 * (words & others).total() / number if number else 1.0
