"""Stage: choose among the gathered training documents, before the teacher answers or anything is encoded."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stillhouse import progress
from stillhouse.data.document import Document, read_documents, words, write_documents
from stillhouse.data.similar import likeness, near_copies
from stillhouse.errors import InputError
from stillhouse.recipe.selection import Selection, SimilarTo
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

LeftOut = dict[str, list[str]]
"""By reason, the documents that were left out for it, in words."""
EXAMPLES = 3


class SelectSettings(Settings):
    """What is left out, and how often the rest is seen."""

    selection: Selection
    """The recipe's section."""
    seed: int
    """Decides which documents of a weighted set are seen once more, and the order."""


def select_documents(settings: SelectSettings, inputs: Inputs, folder: Path) -> None:
    """Write `train.jsonl` anew, and the other splits as they are; `facts.json` says what was left out and why.

    What is left keeps its order, so that a training on a part of the text differs from one without a selection by what
    was selected alone. A document that is seen twice stands there twice, under one id, once more at a place drawn for
    it: sets stay mixed evenly.

    Args:
        settings: What is chosen.
        inputs: `documents`, as `gather_documents` wrote them.
        folder: Gets the splits.

    Raises:
        InputError: If a set is named that holds no training document, or none is left.
    """
    asked, source = settings.selection, inputs["documents"]
    gathered = list(read_documents(source / "train.jsonl"))
    _refuse_unknown(asked, gathered)
    left_out: LeftOut = {}
    documents = gathered
    for name in ("validation", "held_out"):
        shutil.copyfile(source / f"{name}.jsonl", folder / f"{name}.jsonl")
    if asked.near_duplicates is not None:
        progress.step("looks for near duplicates")
        kept = [each for name in ("held_out", "validation") for each in read_documents(source / f"{name}.jsonl")]
        documents = _without_copies(documents, kept, asked.near_duplicates, left_out)
    if asked.similar_to is not None:
        progress.step(f"looks for documents like those of {asked.similar_to.set}")
        documents = _most_like(documents, asked.similar_to, left_out)
    if asked.weights:
        documents = _weighted(documents, asked.weights, settings.seed, left_out)
    facts = _facts(gathered, documents, left_out)
    if not documents:
        raise InputError(f"data.selection leaves no training document: {json.dumps(facts['left_out'])}; ask for less")
    write_documents(folder / "train.jsonl", _in_order(documents, gathered, settings.seed))
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _in_order(documents: Sequence[Document], gathered: Sequence[Document], seed: int) -> list[Document]:
    """As they were gathered; a document that stands there once more does so anywhere."""
    generator, places = np.random.default_rng([seed, 0]), {each.id: place for place, each in enumerate(gathered)}
    keys = [float(places.pop(each.id, -1)) for each in documents]
    keys = [generator.uniform(0, len(gathered)) if key < 0 else key for key in keys]
    return [documents[number] for number in np.argsort(keys, kind="stable")]


def _refuse_unknown(asked: Selection, documents: Sequence[Document]) -> None:
    known = sorted({document.set_name for document in documents})
    named = [*asked.weights, *([asked.similar_to.set] if asked.similar_to is not None else [])]
    for name in named:
        if name not in known:
            raise InputError(
                f"data.selection names the set {name!r}, which has no training document; sets are {', '.join(known)}"
            )


def _without_copies(
    documents: Sequence[Document], kept: Sequence[Document], similarity: float, left_out: LeftOut
) -> list[Document]:
    """Leave out what nearly equals a document of another split, or an earlier one.

    Problems of one family are put in the same words, and are told apart where they are made (`read_problems`).
    """
    others = [document for document in kept if document.kind != "problem"]
    everything = [*others, *(document for document in documents if document.kind != "problem")]
    dropped = set()
    for number, twin in near_copies([words(document) for document in everything], similarity, len(others)).items():
        reason = "near duplicate of another split" if twin < len(others) else "near duplicate"
        left_out.setdefault(reason, []).append(everything[number].id)
        dropped.add(everything[number].id)
    return [document for document in documents if document.id not in dropped]


def _most_like(documents: Sequence[Document], asked: SimilarTo, left_out: LeftOut) -> list[Document]:
    others = [document for document in documents if document.set_name != asked.set]
    target = [words(document) for document in documents if document.set_name == asked.set]
    if not others or not target:
        return list(documents)
    found = likeness([words(document) for document in others], target)
    most = max(1, round(asked.share * len(others)))
    chosen = set(np.argsort(-found, kind="stable")[:most].tolist())
    rest = [each for number, each in enumerate(others) if number not in chosen]
    left_out[f"not like {asked.set}"] = [document.id for document in rest]
    dropped = set(left_out[f"not like {asked.set}"])
    return [document for document in documents if document.id not in dropped]


def _weighted(documents: Sequence[Document], weights: dict[str, float], seed: int, left_out: LeftOut) -> list[Document]:
    """Each document as often as its set's weight says; of a set of n, round(weight n) altogether and at least one."""
    members: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        members[document.set_name].append(document)
    seen: list[Document] = []
    for place, (name, own) in enumerate(sorted(members.items())):
        total = max(1, round(weights.get(name, 1.0) * len(own)))
        whole, rest = divmod(total, len(own))
        once_more = set(np.random.default_rng([seed, 1, place]).permutation(len(own))[:rest].tolist())
        for number, document in enumerate(own):
            times = whole + (number in once_more)
            seen += [document] * times
            if times == 0:
                left_out.setdefault("weight", []).append(document.id)
    return seen


def _facts(before: Sequence[Document], after: Sequence[Document], left_out: LeftOut) -> dict[str, object]:
    """Per set the training documents before and after, and per set and reason how many were left out."""
    counts = {"before": _by_set(before), "after": _by_set(after)}
    names = sorted(counts["before"])
    by_id = {document.id: document for document in before}
    rows = []
    for reason, ids in left_out.items():
        for name in names:
            own = [each for each in ids if by_id[each].set_name == name]
            if own:
                shown = [f"{each}: {' '.join(words(by_id[each]).split())[:80]}" for each in own[:EXAMPLES]]
                rows.append({"set": name, "reason": reason, "documents": len(own), "examples": shown})
    sets = {name: {when: found[name] for when, found in counts.items()} for name in names}
    return {"sets": sets, "left_out": rows}


def _by_set(documents: Iterable[Document]) -> Counter[str]:
    return Counter(document.set_name for document in documents)
