"""Steps of `letter_counting` (a growing count), `spell_backward` (a letter in front), `word_sorting` (insertion)."""

import re
from collections.abc import Sequence

from stillhouse.reasoning.steps import Checked, Metadata

_COUNT = re.compile(r"(\w+): (\d+), so far (\d+)")
_LETTER = re.compile(r"(.) -> (.+)")
_INSERTED = re.compile(r"add ([^:]+): (.+)")


def write_count(metadata: Metadata) -> list[str]:
    """`banana: 3, so far 4`: the words that have the letter, in their order."""
    steps, total = [], 0
    for word, number in _counted_words(metadata):
        total += number
        steps.append(f"{word}: {number}, so far {total}")
    return steps


def check_count(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must be of the next word that has the letter, count it rightly, and add to the line before."""
    words = _counted_words(metadata)
    right, total = [], 0
    for place, step in enumerate(steps):
        found = _COUNT.fullmatch(step)
        if found is None or place >= len(words):
            right.append(False)
            continue
        word, number, after = found[1], int(found[2]), int(found[3])
        right.append((word, number) == words[place] and after == total + number)
        total = after
    return Checked(tuple(right), len(steps) == len(words))


def write_backward(metadata: Metadata) -> list[str]:
    """`s -> s`, `u -> us`, `n -> nus`: each letter goes in front of what is there."""
    word = metadata["word"]
    return [f"{letter} -> {word[: place + 1][::-1]}" for place, letter in enumerate(word)]


def check_backward(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must take the word's next letter and put it in front of what the line before has."""
    word = metadata["word"]
    right, spelt = [], ""
    for place, step in enumerate(steps):
        found = _LETTER.fullmatch(step)
        if found is None or place >= len(word):
            right.append(False)
            continue
        right.append(found[1] == word[place] and found[2] == found[1] + spelt)
        spelt = found[2]
    return Checked(tuple(right), len(steps) == len(word))


def write_sorted(metadata: Metadata) -> list[str]:
    """`add one: array, one`: each word goes to its place among those before it."""
    words = metadata["transformed_words"]
    return [f"add {word}: {', '.join(_in_order(metadata, words[: place + 1]))}" for place, word in enumerate(words)]


def check_sorted(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must take the next word and put it at its place in the list of the line before."""
    words = metadata["transformed_words"]
    right: list[bool] = []
    listed: list[str] = []
    for place, step in enumerate(steps):
        found = _INSERTED.fullmatch(step)
        if found is None or place >= len(words):
            right.append(False)
            continue
        after = found[2].split(", ")
        right.append(found[1] == words[place] and after == _in_order(metadata, [*listed, found[1]]))
        listed = after
    return Checked(tuple(right), len(steps) == len(words))


def _counted_words(metadata: Metadata) -> list[tuple[str, int]]:
    """The words that have the letter, in either case, and how often."""
    counts = [(word, word.lower().count(metadata["target_letter"])) for word in metadata["span"]]
    return [(word, number) for word, number in counts if number]


def _in_order(metadata: Metadata, words: Sequence[str]) -> list[str]:
    return sorted(words, reverse=metadata["direction"] == "descending")
