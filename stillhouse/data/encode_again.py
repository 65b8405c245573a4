"""Stage: the texts of a data set in the tokens of a teacher with another tokenizer, and which positions go together.

A position goes with one of the other tokenizer's where both have read exactly the same characters and have one to
predict next. Characters are counted in the text itself, so it does not matter how either tokenizer spells them; a token
that only goes on with a character begins nowhere in the text and has no partner.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stillhouse import progress
from stillhouse.data.chat import Encoded, encode_batch
from stillhouse.data.dataset import Spelled, Split, read_spelled, read_split, set_of, write_split
from stillhouse.data.document import Document
from stillhouse.data.splits import SPLITS, SplitName
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer, opening_ids, untrimmed
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCH = 256
Pairs = npt.NDArray[np.int64]
"""[P, 2] a token of the student's data set and the teacher's token that begins at the same character, ascending."""


class EncodeAgainSettings(Settings):
    """Nothing but what it reads."""


@dataclass(frozen=True)
class _Piece:
    """A text in the teacher's tokens."""

    ids: npt.NDArray[np.int32]
    counted: npt.NDArray[np.bool_]
    num_bytes: int
    """Of its targets."""
    pairs: Pairs
    """Within the text."""


def encode_for_teacher(settings: EncodeAgainSettings, inputs: Inputs, folder: Path) -> None:
    """Write a data-set folder with the same texts in the same order, and `pairs.npy` in each of its splits.

    A token of the teacher's is a target where it begins in what is one for the student.

    Args:
        settings: None.
        inputs: `teacher`, and `dataset`, which was encoded with a tokenizer of the student's own.
        folder: Gets the data set, and in `facts.json` how many targets have a partner.

    Raises:
        InputError: If not one target of the training text has a partner, or a text is longer than what the teacher can
            read.
    """
    tokenizer = open_tokenizer(inputs["teacher"])
    opening = opening_ids(tokenizer)
    tokenizer = untrimmed(tokenizer)
    facts = {}
    for name in SPLITS:
        split, spelled = read_split(inputs["dataset"], name), read_spelled(inputs["dataset"], name)
        pieces = _pieces(tokenizer, opening, split, spelled)
        lengths = [len(piece.ids) for piece in pieces]
        _refuse_too_long(inputs["teacher"], max(lengths), split.names[int(np.argmax(lengths))])
        own = _join(split, pieces)
        write_split(folder, name, own)
        pairs = np.concatenate(
            [
                piece.pairs + [first, other]
                for piece, first, other in zip(pieces, split.starts[:-1], own.starts[:-1], strict=True)
            ]
        )
        np.save(folder / name / "pairs.npy", pairs)
        facts[name] = _facts(split, own, len(pairs))
    if not facts["train"]["pairs"]:
        raise InputError(
            "no target of the training text begins where one of the teacher's tokens begins, so there is nothing that "
            "both predict; take a tokenizer that splits texts at words"
        )
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_pairs(folder: Path, name: SplitName) -> Pairs:
    """What `encode_for_teacher` paired in a split."""
    pairs: Pairs = np.load(folder / name / "pairs.npy")
    return pairs


def _pieces(
    tokenizer: "PreTrainedTokenizerFast", opening: list[int], split: Split, spelled: list[Spelled]
) -> list[_Piece]:
    pieces: list[_Piece] = []
    for start in range(0, len(spelled), _BATCH):
        progress.step("encodes texts for the teacher", start, len(spelled))
        few = spelled[start : start + _BATCH]
        # As plain text: a conversation has its special tokens spelled in it.
        encoded = encode_batch(tokenizer, [Document("text", "text", each.text) for each in few])
        for number, (text, own) in enumerate(zip(few, encoded, strict=True), start=start):
            counted = np.asarray(split.counted[split.starts[number] : split.starts[number + 1]])
            behind = own.behind(opening if text.is_text else [])
            pieces.append(_piece(text, counted, behind, tokenizer.eos_token_id))
    return pieces


def _piece(text: Spelled, counted: npt.NDArray[np.bool_], own: Encoded, filler: int) -> _Piece:
    if not len(own.ids):
        # Part of a character alone: it keeps its place, and says nothing.
        return _Piece(np.array([filler], dtype=np.int32), np.zeros(1, dtype=bool), 0, np.zeros((0, 2), dtype=np.int64))
    begins, others = _begins(text.ends), _begins(own.ends)
    is_target = np.zeros(len(text.text) + 1, dtype=bool)
    for start, end in zip(begins[counted], text.ends[counted], strict=True):
        is_target[start:end] = True
    # What goes on with a character is counted as its first part is.
    targets = is_target[np.where(own.ends > others, others, np.maximum(others - 1, 0))]
    # The first token is predicted where a special one stands before it.
    targets &= own.counted
    ours = np.flatnonzero(counted & (text.ends > begins))
    theirs = np.flatnonzero(targets & (own.ends > others))
    _, one, other = np.intersect1d(begins[ours], others[theirs], assume_unique=True, return_indices=True)
    pairs = np.stack([ours[one], theirs[other]], axis=1).astype(np.int64)
    return _Piece(own.ids, targets, int(own.num_bytes[targets].sum()), pairs)


def _begins(ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The character that each token begins with: that after the last one of the token before."""
    return np.concatenate([[0], ends[:-1]])


def _join(split: Split, pieces: list[_Piece]) -> Split:
    return Split(
        ids=np.concatenate([piece.ids for piece in pieces]),
        counted=np.concatenate([piece.counted for piece in pieces]),
        starts=np.concatenate([[0], np.cumsum([len(piece.ids) for piece in pieces])]),
        num_bytes=np.array([piece.num_bytes for piece in pieces], dtype=np.int64),
        names=split.names,
    )


def _refuse_too_long(teacher: Path, length: int, name: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(teacher, local_files_only=True).get_text_config(decoder=True)
    if length > config.max_position_embeddings:
        raise InputError(
            f"a text of {name} has {length} of the teacher's tokens, whose context holds "
            f"{config.max_position_embeddings}; lower data.sequence_length, which counts the student's"
        )


def _facts(split: Split, own: Split, num_pairs: int) -> dict[str, object]:
    sets: dict[str, int] = defaultdict(int)
    for name, start, end in zip(own.names, own.starts[:-1], own.starts[1:], strict=True):
        sets[set_of(name)] += int(end - start)
    return {
        "texts": own.num_documents,
        "tokens": own.num_tokens,
        "counted_tokens": own.num_targets,
        "bytes": int(own.num_bytes.sum()),
        "pairs": num_pairs,
        "paired_share": num_pairs / max(split.num_targets, 1),
        "tokens_of_sets": dict(sets),
    }
