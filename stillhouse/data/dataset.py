"""A data set ready for training and evaluation: the tokens of all documents end to end, on disk.

Reads and writes with numpy alone, so that processes without torch can use it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stillhouse.data.splits import SplitName


@dataclass(frozen=True)
class Split:
    """D documents of N tokens in all. A document longer than a training row lies here in pieces, each a document."""

    ids: npt.NDArray[np.int32]
    """[N] tokens."""
    counted: npt.NDArray[np.bool_]
    """[N] True where the token is a target; False for prompts and the first token of a document."""
    starts: npt.NDArray[np.int64]
    """[D + 1] where each document starts, and the end."""
    num_bytes: npt.NDArray[np.int64]
    """[D] UTF-8 bytes that each document's targets spell, for bits per byte."""
    names: tuple[str, ...]
    """[D] `set/number`; the pieces of one document share its name."""
    weights: npt.NDArray[np.float32] | None = None
    """[D] how much each target of a document counts in the training loss; `None` where all count alike."""

    @property
    def num_documents(self) -> int:
        """D."""
        return len(self.names)

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def num_targets(self) -> int:
        """Tokens that count."""
        return int(np.count_nonzero(self.counted))


def set_of(document: str) -> str:
    """The data set of a document that is called `set/number`; of one from its own held-out file, `set/held-out`."""
    return document.rpartition("/")[0]


@dataclass(frozen=True)
class Spelled:
    """What the tokens of one document spell, for a model with another tokenizer."""

    text: str
    ends: npt.NDArray[np.int64]
    """The character of the text after the last one that each token spells."""
    is_text: bool
    """Whether it is of a text, and not of a conversation, whose template wrote its special tokens."""


def write_spelled(folder: Path, name: SplitName, documents: Sequence[Spelled]) -> None:
    """Write what each document of a split spells, beside the split."""
    texts = [[document.text, document.is_text] for document in documents]
    (folder / name / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    np.save(folder / name / "ends.npy", np.concatenate([document.ends for document in documents]))


def read_spelled(folder: Path, name: SplitName) -> list[Spelled]:
    """What each document of a split spells, in the split's order.

    Raises:
        FileNotFoundError: If the data set was written without.
    """
    texts = json.loads((folder / name / "texts.json").read_text(encoding="utf-8"))
    split, ends = read_split(folder, name), _open(folder / name / "ends.npy")
    parts = np.split(ends, split.starts[1:-1])
    return [Spelled(text, part, is_text) for (text, is_text), part in zip(texts, parts, strict=True)]


def write_split(folder: Path, name: SplitName, split: Split) -> None:
    """Write a split into `folder/<name>/`."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for part, (array, kind) in _arrays(split).items():
        np.save(place / f"{part}.npy", np.asarray(array, dtype=kind))
    if split.weights is not None:
        np.save(place / "weights.npy", np.asarray(split.weights, dtype=np.float32))
    (place / "names.json").write_text(json.dumps(split.names, ensure_ascii=False), encoding="utf-8")


def read_split(folder: Path, name: SplitName) -> Split:
    """Open a split; its arrays stay on disk until they are read.

    Raises:
        FileNotFoundError: If the folder holds no such split.
    """
    place = folder / name
    parts = {part: _open(place / f"{part}.npy") for part in ("ids", "counted", "starts", "num_bytes")}
    names = tuple(json.loads((place / "names.json").read_text(encoding="utf-8")))
    weighted = place / "weights.npy"
    return Split(**parts, names=names, weights=_open(weighted) if weighted.exists() else None)


def _arrays(split: Split) -> dict[str, tuple[npt.NDArray[Any], type[np.generic]]]:
    return {
        "ids": (split.ids, np.int32),
        "counted": (split.counted, np.bool_),
        "starts": (split.starts, np.int64),
        "num_bytes": (split.num_bytes, np.int64),
    }


def _open(path: Path) -> npt.NDArray[Any]:
    # An empty file cannot be mapped into memory, and an empty split has empty arrays.
    array: npt.NDArray[Any] = np.load(path, mmap_mode=None if path.stat().st_size < 4096 else "r")
    return array
