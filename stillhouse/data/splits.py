"""Which split a document belongs to: a function of its text and the seed, not of its place in a file."""

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Literal

from stillhouse.errors import InputError

SplitName = Literal["train", "validation", "held_out"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "held_out")
FEWEST: dict[SplitName, int] = {"train": 1, "validation": 1, "held_out": 2}
"""Documents that each split must hold: an interval needs two, and is drawn over held-out documents."""

_TRAIN_ENDS = 0.90
_VALIDATION_ENDS = 0.95


def normalised(text: str) -> str:
    """A text without the differences that make no other document of it: case and white space."""
    return " ".join(text.casefold().split())


def split_of(text_key: str, *, seed: int) -> SplitName:
    """The split of a text: 90 % train, 5 % validation, 5 % held out, by hash.

    A text keeps its split when other texts come or go, so a larger set never moves a held-out document into
    training.
    """
    place = _place(text_key, seed)
    if place < _TRAIN_ENDS:
        return "train"
    return "validation" if place < _VALIDATION_ENDS else "held_out"


def assign_splits(
    text_keys: Iterable[str],
    *,
    seed: int,
    kept: Container[str] = frozenset(),
    needed: Sequence[SplitName] = SPLITS,
) -> dict[str, SplitName]:
    """Split texts by hash, and see that no needed split stays empty.

    Where the hashes leave one with too few, as they do for a handful of texts, the largest split gives it the texts
    with the highest hashes.

    Args:
        text_keys: Texts; repeated ones count once.
        seed: Another seed gives another split.
        kept: Texts whose set has a held-out file of its own: their held-out share stays in training.
        needed: Splits that must hold as many texts as `FEWEST` says.

    Raises:
        InputError: If there are fewer texts than that.
    """
    texts = sorted(set(text_keys))
    fewest = sum(FEWEST[split] for split in needed)
    if len(texts) < fewest:
        raise InputError(
            f"the data hold {len(texts)} distinct document{'s' * (len(texts) != 1)}, and "
            f"{', '.join(f'{split} needs {FEWEST[split]}' for split in needed)}; give {fewest} or more"
        )
    splits = {text: split_of(text, seed=seed) for text in texts}
    splits |= {text: "train" for text, split in splits.items() if split == "held_out" and text in kept}
    for split in needed:
        while list(splits.values()).count(split) < FEWEST[split]:
            giver = Counter(splits.values()).most_common(1)[0][0]
            given = max((text for text in texts if splits[text] == giver), key=lambda text: _place(text, seed))
            splits[given] = split
    return splits


def _place(text_key: str, seed: int) -> float:
    """A number in [0, 1) that the text and the seed decide, evenly spread over texts."""
    digest = hashlib.sha256(f"{seed}\n{normalised(text_key)}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56
