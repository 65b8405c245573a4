"""Stage: gather the documents of every set, drop duplicates, and put each into its split."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stillhouse import progress
from stillhouse.data.document import Document, opening, words, write_documents
from stillhouse.data.sources import ReadSet, read_sets
from stillhouse.data.splits import SPLITS, SplitName, assign_splits, normalised
from stillhouse.recipe.data import Data, DataSet, JsonLines
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import FACTS, Inputs


class GatherSettings(Settings):
    """Which documents, and the seed that splits and shuffles them. Made by `gather_settings`."""

    sets: tuple[DataSet, ...]
    """The recipe's sets; files by their name, since what they hold is in `sources`."""
    sources: tuple[Source, ...]
    """What `check_data` found."""
    seed: int
    """Decides splits and order."""


def gather_settings(data: Data, sources: tuple[Source, ...], seed: int) -> GatherSettings:
    """The part of a recipe that decides its documents: a file that moves to another folder changes nothing."""
    return GatherSettings(sets=tuple(map(_without_folders, data.sets)), sources=sources, seed=seed)


def gather_documents(settings: GatherSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl`, `validation.jsonl` and `held_out.jsonl`, and what is in them to `facts.json`.

    Exact duplicates (case and white space aside) become one document; where one of them is in a held-out file,
    that one stays. Documents that open alike, as two answers to one question, share a split. Within a split the
    sets are mixed evenly: every beginning of the file has them in the proportion of their sizes.

    Raises:
        InputError: If a set cannot be read, or there are too few documents for the splits.
    """
    progress.step("reads the data sets")
    sets = read_sets(settings.sets, settings.sources)
    reported = _distinct([document for each in sets for document in each.held_out or ()], set())
    known = {normalised(words(document)) for document in reported}
    documents = _distinct([document for each in sets for document in each.documents], known)
    splits: dict[SplitName, list[Document]] = {name: [] for name in SPLITS}
    splits["held_out"].extend(reported)
    assigned = _assign(documents, sets, settings.seed)
    for document in documents:
        splits[assigned[_group(document)]].append(document)
    for place, name in enumerate(SPLITS):
        write_documents(folder / f"{name}.jsonl", mix(splits[name], np.random.default_rng([settings.seed, place])))
    facts = {"documents": {name: len(splits[name]) for name in SPLITS}, "sets": _facts(sets, splits)}
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _without_folders(data_set: DataSet) -> DataSet:
    if not isinstance(data_set, JsonLines):
        return data_set
    held_out = data_set.held_out and Path(data_set.held_out).name
    return data_set.model_copy(update={"path": Path(data_set.path).name, "held_out": held_out})


def _distinct(documents: Iterable[Document], known: set[str]) -> list[Document]:
    """The first of each group of duplicates, less what is known already."""
    first: dict[str, Document] = {}
    for document in documents:
        key = normalised(words(document))
        if key not in known:
            first.setdefault(key, document)
    return list(first.values())


def _group(document: Document) -> str:
    return normalised(opening(document))


def _assign(documents: Sequence[Document], sets: Sequence[ReadSet], seed: int) -> dict[str, SplitName]:
    has_file = {each.name for each in sets if each.held_out is not None}
    kept = {_group(document) for document in documents if document.set_name in has_file}
    needed = SPLITS[:2] if has_file else SPLITS
    return assign_splits(map(_group, documents), seed=seed, kept=kept, needed=needed)


def mix(documents: Sequence[Document], generator: np.random.Generator) -> list[Document]:
    """Shuffle each set, then lay the sets into one another like the teeth of combs of the same length."""
    sets = sorted({document.set_name for document in documents})
    placed: list[tuple[float, int, Document]] = []
    for place, name in enumerate(sets):
        members = [document for document in documents if document.set_name == name]
        order = generator.permutation(len(members))
        placed.extend(((rank + 0.5) / len(members), place, members[each]) for rank, each in enumerate(order))
    return [document for *_, document in sorted(placed, key=lambda entry: entry[:2])]


def _facts(sets: Sequence[ReadSet], splits: dict[SplitName, list[Document]]) -> dict[str, dict[str, object]]:
    """Documents per set and split, duplicates that were dropped, licence and credit."""
    counts = {name: Counter(document.set_name for document in splits[name]) for name in SPLITS}
    facts: dict[str, dict[str, object]] = {}
    for each in sets:
        own: dict[str, int] = {name: counts[name][each.name] for name in SPLITS}
        own["held_out"] += counts["held_out"][f"{each.name}/held-out"]
        read = len(each.documents) + len(each.held_out or ())
        facts[each.name] = {
            **own,
            "duplicates": read - sum(own.values()),
            "licence": each.licence,
            "credit": each.credit,
        }
    return facts
