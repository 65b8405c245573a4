"""Typing errors as fingers make them, on a QWERTY keyboard, decided by a seed and nothing else."""

import random
import re

SHARE = 0.15
"""Of the words that are long enough, those that get an error."""
SHORTEST = 4
"""Letters of the shortest word that gets one."""

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD = re.compile(rf"[A-Za-z]{{{SHORTEST},}}")


def add_typing_errors(text: str, *, seed: int, document: int) -> str:
    """Return the text with one error in each of a fixed share of its longer words, at least in one.

    An error is a neighbouring key, two letters swapped, a letter left out or typed twice, each as likely.

    Args:
        text: Letters of English; anything else is left as it is.
        seed: Decides the errors, together with `document`.
        document: Number of the document, so that two documents get different errors.
    """
    generator = random.Random(f"{seed} {document}")
    words = list(_WORD.finditer(text))
    if not words:
        return text
    chosen = sorted(generator.sample(range(len(words)), max(1, round(SHARE * len(words)))))
    pieces, done = list[str](), 0
    for word in (words[number] for number in chosen):
        pieces += [text[done : word.start()], mistype(word.group(), generator)]
        done = word.end()
    return "".join([*pieces, text[done:]])


def mistype(word: str, generator: random.Random) -> str:
    """Return the word with one typing error; it is never the same word."""
    kind = generator.choice(("neighbour", "swap", "drop", "double"))
    place = generator.randrange(len(word))
    if kind == "swap":
        places = [here for here in range(len(word) - 1) if word[here] != word[here + 1]]
        if places:
            here = generator.choice(places)
            return word[:here] + word[here + 1] + word[here] + word[here + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[: place + 1] + word[place:]
    return word[:place] + _neighbour(word[place], generator) + word[place + 1 :]


def neighbours(letter: str) -> str:
    """Return the letters whose keys touch that of a lower-case letter."""
    row = next(number for number, keys in enumerate(_ROWS) if letter in keys)
    column = _ROWS[row].index(letter)
    # Each row stands half a key to the right of the one above it.
    touching = {(row, column - 1), (row, column + 1), (row - 1, column), (row - 1, column + 1)}
    touching |= {(row + 1, column - 1), (row + 1, column)}
    return "".join(_ROWS[r][c] for r, c in sorted(touching) if 0 <= r < len(_ROWS) and 0 <= c < len(_ROWS[r]))


def _neighbour(letter: str, generator: random.Random) -> str:
    typed = generator.choice(neighbours(letter.lower()))
    return typed.upper() if letter.isupper() else typed
