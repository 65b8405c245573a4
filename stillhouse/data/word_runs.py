"""Runs of words, by which texts are told to share a passage."""

import re

RUN_WORDS = 13
"""A run of so many words that two texts share is hardly ever chance (Brown et al., 2020, appendix C)."""
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text, without case and marks."""
    return _WORD.findall(text.casefold())


def word_runs(text: str, length: int = RUN_WORDS) -> set[tuple[str, ...]]:
    """Every run of `length` words; a shorter text is one run."""
    found = words_of(text)
    return {tuple(found[start : start + length]) for start in range(max(1, len(found) - length + 1))}
