"""Stage: name the samples of a data set by their tokens, in the order in which a cache keeps them.

The order is that of the names, so it knows nothing of the order of the data: shuffled, or with a document more, a data
set is captured to the same records.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stillhouse import progress
from stillhouse.data.dataset import Split, read_split
from stillhouse.data.splits import SplitName
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs
from stillhouse.teachers.cache.index import Positions
from stillhouse.teachers.samples import sample_id


class ListSamplesSettings(Settings):
    """Of which splits."""

    splits: tuple[SplitName, ...] = ("train",)
    """What is held out is never among what is learnt, so a cache need not hold it."""


@dataclass(frozen=True)
class ListedSample:
    """A text as a cache keeps it."""

    id: bytes
    ids: npt.NDArray[np.int32]
    """[L] tokens."""
    positions: Positions
    """[L] True where a position predicts a target."""
    name: str
    """Of a document that holds it."""


def list_samples(settings: ListSamplesSettings, inputs: Inputs, folder: Path) -> None:
    """Write where each sample lies in the data set, ordered by id, copies of a text side by side.

    Inputs are `dataset`. A document in which nothing is a target is no sample.
    """
    ids, places = [], []
    for number, name in enumerate(settings.splits):
        split = read_split(inputs["dataset"], name)
        for document in range(split.num_documents):
            if document % 10_000 == 0:
                progress.step("names samples", document, split.num_documents)
            place = _place(split, document)
            if split.counted[place][1:].any():
                ids.append(sample_id(split.ids[place]))
                places.append((number, document))
    order = sorted(range(len(ids)), key=lambda each: (ids[each], places[each]))
    ordered = [ids[each] for each in order]
    firsts = [place for place, each in enumerate(ordered) if place == 0 or each != ordered[place - 1]]
    np.save(folder / "places.npy", np.array([places[each] for each in order], dtype=np.int64).reshape(-1, 2))
    np.save(folder / "starts.npy", np.array([*firsts, len(order)], dtype=np.int64))
    facts = {"samples": len(firsts), "copies": len(order) - len(firsts)}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def read_samples(
    listing: Path, dataset: Path, settings: ListSamplesSettings, shard: int, num_shards: int
) -> list[ListedSample]:
    """The samples of one shard: an equal share of all of them, ascending by id.

    Copies of a text are one sample, with every position that any of them counts.
    """
    splits = [read_split(dataset, name) for name in settings.splits]
    places, starts = np.load(listing / "places.npy"), np.load(listing / "starts.npy")
    num_samples = len(starts) - 1
    first, end = (num_samples * edge // num_shards for edge in (shard, shard + 1))
    return [_sample(splits, places[starts[number] : starts[number + 1]].tolist()) for number in range(first, end)]


def _sample(splits: list[Split], copies: list[tuple[int, int]]) -> ListedSample:
    number, document = copies[0]
    place = _place(splits[number], document)
    ids = np.array(splits[number].ids[place])
    positions = np.zeros(len(ids), dtype=bool)
    for split, copy in copies:
        positions[:-1] |= splits[split].counted[_place(splits[split], copy)][1:]
    return ListedSample(sample_id(ids), ids, positions, splits[number].names[document])


def _place(split: Split, document: int) -> slice:
    return slice(int(split.starts[document]), int(split.starts[document + 1]))
