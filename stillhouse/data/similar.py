"""Which texts are alike: near copies, and texts like those of a target."""

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stillhouse.data.word_runs import word_runs, words_of

SHINGLE_WORDS = 5
BUCKETS = 10_000
"""Of hashed words and pairs of words, as in DSIR."""


def near_copies(texts: Sequence[str], similarity: float, num_kept: int) -> dict[int, int]:
    """Find the texts that nearly equal an earlier one that stays.

    Exact, not estimated: two sets whose Jaccard similarity is at least s share one of their first
    n - ceil(s n) + 1 elements in any common order (Chaudhuri et al., 2006), so that few pairs are compared at all.

    Args:
        texts: In order; the first of a group of copies stays.
        similarity: Smallest Jaccard similarity of runs of five words that makes a copy.
        num_kept: So many first texts stay, whatever they are like.

    Returns:
        Numbers of the copies, each with the number of the text that it nearly equals.
    """
    shingles = [word_runs(text, SHINGLE_WORDS) for text in texts]
    frequency = Counter(shingle for each in shingles for shingle in each)
    where: dict[tuple[str, ...], list[int]] = defaultdict(list)
    copies: dict[int, int] = {}
    for number, own in enumerate(shingles):
        # Rare ones first, so that few texts have them.
        ordered = sorted(own, key=lambda shingle: (frequency[shingle], shingle))
        prefix = ordered[: len(own) - math.ceil(similarity * len(own) - 1e-9) + 1]
        if number >= num_kept:
            candidates = sorted({other for shingle in prefix for other in where[shingle]})
            twin = next((other for other in candidates if _jaccard(own, shingles[other]) >= similarity), None)
            if twin is not None:
                copies[number] = twin
                continue
        for shingle in prefix:
            where[shingle].append(number)
    return copies


def likeness(texts: Sequence[str], target: Sequence[str]) -> npt.NDArray[np.float64]:
    """Log importance of each text for the target, per word or pair of words (DSIR: Xie et al., 2023, arXiv:2302.03169).

    Both distributions are bags of hashed words and pairs, each bucket counted once more than it occurs. DSIR adds up
    the logarithms; here they are averaged, or the longest text would be the most like or the least.

    Args:
        texts: What is chosen among.
        target: Texts of the domain.

    Returns:
        [D] nats; higher is more like the target.
    """
    raw, wanted = _log_shares(texts), _log_shares(target)
    ratios = wanted - raw
    return np.array([np.mean(ratios[buckets]) if (buckets := list(_buckets(text))) else -np.inf for text in texts])


def _jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _log_shares(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    counts = np.ones(BUCKETS)
    for text in texts:
        for bucket in _buckets(text):
            counts[bucket] += 1
    shares: npt.NDArray[np.float64] = np.log(counts / counts.sum())
    return shares


def _buckets(text: str) -> Iterator[int]:
    words = words_of(text)
    for gram in [*words, *(" ".join(pair) for pair in zip(words, words[1:], strict=False))]:
        yield zlib.crc32(gram.encode()) % BUCKETS
