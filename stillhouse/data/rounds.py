"""Stage: the data of one round of a continual route: what is new, and what is seen again of the rounds before."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from stillhouse.data.dataset import Split, read_split, set_of, write_split
from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs


class RoundSettings(Settings):
    """What a round trains on."""

    new: tuple[str, ...]
    """Names of the data sets that arrive."""
    earlier: tuple[str, ...] = ()
    """Of those that came in rounds before."""
    replay: float = Field(default=0.0, ge=0, le=1)
    """Share of the earlier sets' training documents that is seen again."""
    seed: int
    """Decides which documents those are: the same ones in every round."""


def choose_round(settings: RoundSettings, inputs: Inputs, folder: Path) -> None:
    """Write the data set of a round: its training text, and validation text of all that came so far.

    Documents keep their order, their tokens and their names. `facts.json` says for each split and set how many
    documents and tokens there are, and for training text how many of the documents are `replayed`.

    Args:
        settings: Which sets.
        inputs: `dataset`, as `encode_documents` wrote it.
        folder: Gets the splits.

    Raises:
        InputError: If a set has no training document, or so few that none of them is replayed, or no validation text
            is left.
    """
    source = inputs["dataset"]
    train = read_split(source, "train")
    chosen = _training_documents(settings, train)
    seen = {*settings.new, *settings.earlier}
    validation = read_split(source, "validation")
    kept = [set_of(name) in seen for name in validation.names]
    if not any(kept):
        raise InputError(
            f"no validation text is of {', '.join(sorted(seen))}, on which the round's training is watched; raise "
            "data.validation_tokens"
        )
    splits = {
        "train": take(train, [name in chosen for name in train.names]),
        "validation": take(validation, kept),
    }
    for name in ("train", "validation"):
        write_split(folder, name, splits[name])
    facts = {name: {"sets": _counts(split)} for name, split in splits.items()}
    replayed = Counter(set_of(name) for name in chosen if set_of(name) in settings.earlier)
    content = facts | {"replayed": dict(sorted(replayed.items()))}
    (folder / FACTS).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _training_documents(settings: RoundSettings, train: Split) -> set[str]:
    """Names of the documents of a round; pieces of one document stay together."""
    members: dict[str, list[str]] = {name: [] for name in (*settings.new, *settings.earlier)}
    for name in dict.fromkeys(train.names):
        members.get(set_of(name), []).append(name)
    chosen: set[str] = set()
    for name, own in members.items():
        if not own:
            raise InputError(
                f"no training document is of {name}, so its round would train on nothing; raise data.train_tokens or "
                "the set's limit, or take it out of route.rounds"
            )
        if name in settings.new:
            chosen.update(own)
        elif settings.replay > 0:
            number = round(settings.replay * len(own))
            if number == 0:
                raise InputError(
                    f"the replay buffer of {name} is empty: {settings.replay:g} of its {len(own)} training documents "
                    "is less than one; raise route.replay, or give more documents"
                )
            # Every set is drawn by itself, so that a set more does not change what is replayed of another.
            generator = np.random.default_rng([settings.seed, 2, *name.encode()])
            chosen.update(own[place] for place in generator.permutation(len(own))[:number].tolist())
    return chosen


def take(split: Split, kept: Sequence[bool]) -> Split:
    """Some documents of a split, in its order.

    Args:
        split: D documents.
        kept: [D] whether each stays.
    """
    places = np.flatnonzero(np.asarray(kept))
    lengths = np.diff(split.starts)
    tokens = np.repeat(np.asarray(kept, dtype=bool), lengths)
    return Split(
        ids=np.asarray(split.ids)[tokens],
        counted=np.asarray(split.counted)[tokens],
        starts=np.concatenate([[0], np.cumsum(lengths[places])]).astype(np.int64),
        num_bytes=np.asarray(split.num_bytes)[places],
        names=tuple(split.names[place] for place in places),
        weights=None if split.weights is None else np.asarray(split.weights)[places],
    )


def _counts(split: Split) -> dict[str, dict[str, int]]:
    documents = Counter(set_of(name) for name in dict.fromkeys(split.names))
    tokens: Counter[str] = Counter()
    for name, length in zip(split.names, np.diff(split.starts).tolist(), strict=True):
        tokens[set_of(name)] += length
    return {name: {"documents": documents[name], "tokens": tokens[name]} for name in sorted(documents)}
