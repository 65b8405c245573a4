"""F1 over words of an answer, as SQuAD counts it (Rajpurkar et al., 2016, arXiv:1606.05250)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def f1_of_answers(given: str, right: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, against the right answer that it fits best.

    Case, punctuation and articles do not count. 1 where both are empty, 0 where only one is.
    """
    return max(_f1(_words(given), _words(each)) for each in right)


def _f1(given: list[str], right: list[str]) -> float:
    if not given or not right:
        return float(given == right)
    shared = sum((Counter(given) & Counter(right)).values())
    return 2 * shared / (len(given) + len(right))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
