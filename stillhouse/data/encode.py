"""Stage: turn documents and answered prompts into tokens, up to each split's budget."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from stillhouse import progress
from stillhouse.data.chat import Encoded, encode_batch
from stillhouse.data.dataset import Spelled, Split, set_of, write_spelled, write_split
from stillhouse.data.document import Document, LossTask, read_documents
from stillhouse.data.splits import FEWEST, SPLITS, SplitName
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer, opening_ids, tokenizer_folder, untrimmed
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

_BATCH = 256


class EncodeSettings(Settings):
    """How many tokens of each split, in pieces of what length."""

    train_tokens: PositiveInt
    """Upper bound on training tokens, prompts included."""
    validation_tokens: PositiveInt
    """Upper bound on validation tokens."""
    held_out_tokens: PositiveInt
    """Upper bound on held-out tokens."""
    sequence_length: int
    """Longer documents are cut into pieces of this length."""


@dataclass(frozen=True)
class _Piece:
    """A document, or as much of a long one as fits a row."""

    name: str
    is_text: bool
    encoded: Encoded
    task: LossTask | None
    weight: float | None


def encode_documents(settings: EncodeSettings, inputs: Inputs, folder: Path) -> None:
    """Write a data-set folder (see `stillhouse.data.dataset`).

    Documents come in the order of their split's file, where the sets are mixed evenly, until the budget is used
    up; the last one is cut to fit. A prompt takes part once the teacher has answered it.

    Args:
        settings: Budgets and piece length.
        inputs: `teacher`, whose tokenizer and chat template are used, or `tokenizer`, where the student has one of
            its own: then what the tokens spell is written too; `documents`; `answers`, which may be absent where no
            document is a prompt; `responses`, several to each training prompt, which then stand in the place of its
            answer; `answers_1`, `responses_1` and so on of other teachers, each to prompts of its own; and
            `rationales`, where documents are problems.
        folder: Gets the data set, and per split and set in `facts.json` the documents, tokens, targets and bytes, and
            per split the conversations that are longer than a piece.

    Raises:
        InputError: If a split ends up without a single target, or a conversation does not fit the template.
    """
    has_own = "tokenizer" in inputs
    tokenizer = open_tokenizer(tokenizer_folder(inputs))
    opening = opening_ids(tokenizer)
    if has_own:
        tokenizer = untrimmed(tokenizer)
    budgets: dict[SplitName, int] = {
        "train": settings.train_tokens,
        "validation": settings.validation_tokens,
        "held_out": settings.held_out_tokens,
    }
    facts, parted = {}, list[str]()
    for name in SPLITS:
        documents, parted_before = _with_answers(inputs, name), len(parted)
        cut = _Cut(settings.sequence_length, budgets[name], opening)
        pieces = list(_pieces(tokenizer, documents, cut, parted))
        if not pieces:
            raise InputError(
                f"the split {name} holds nothing to learn from: no document gave two tokens or more within "
                f"{budgets[name]} tokens; give more or longer documents, or a larger {name}_tokens"
            )
        documents_held = len({piece.name for piece in pieces})
        if documents_held < FEWEST[name]:
            raise InputError(
                f"the split {name} holds {documents_held} document within {budgets[name]} tokens and needs "
                f"{FEWEST[name]}, since intervals are drawn over documents; raise data.{name}_tokens, or give more"
            )
        # What is only measured counts alike: weights are of the training loss.
        write_split(folder, name, _join(pieces, _weights(pieces) if name == "train" else None))
        if has_own:
            spelled = [Spelled(piece.encoded.text, piece.encoded.ends, piece.is_text) for piece in pieces]
            write_spelled(folder, name, spelled)
        facts[name] = _facts(pieces) | {"parted_conversations": len(parted) - parted_before}
    if parted:
        logger.warning(
            "%d conversations are longer than data.sequence_length %d, %s among them; what is said in a later piece is "
            "learned without what stood in the pieces before",
            len(parted),
            settings.sequence_length,
            parted[0],
        )
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _with_answers(inputs: Inputs, split: SplitName) -> Iterator[Document]:
    """The documents of a split, each prompt and problem replaced by its answered forms or left out."""
    answered: dict[str, list[Document]] = defaultdict(list)
    kinds = ("responses" if split == "train" and "responses" in inputs else "answers", "rationales")
    for made, folder in inputs.items():
        # Of other teachers it has a number.
        if made.partition("_")[0] in kinds:
            for document in read_documents(folder / f"{split}.jsonl"):
                answered[document.id].append(document)
    for document in read_documents(inputs["documents"] / f"{split}.jsonl"):
        yield from answered.get(document.id, ()) if document.kind in ("prompt", "problem") else (document,)


@dataclass(frozen=True)
class _Cut:
    """How documents become pieces."""

    length: int
    budget: int
    """Tokens of all pieces together."""
    opening: list[int]
    """Special tokens before each piece of a text."""


def _pieces(
    tokenizer: "PreTrainedTokenizerFast", documents: Iterable[Document], cut: _Cut, parted: list[str]
) -> Iterator[_Piece]:
    """Pieces of documents that hold a target, until they have the budget's tokens.

    Conversations that are longer than a piece are noted in `parted`.
    """
    used = 0
    remaining = iter(documents)
    while batch := list(islice(remaining, _BATCH)):
        progress.step("encodes documents", used, cut.budget)
        for document, encoded in zip(batch, encode_batch(tokenizer, batch), strict=True):
            if not encoded.counted.any():
                logger.warning("document %s holds nothing to predict and is left out", document.id)
            if document.kind == "messages" and len(encoded.ids) > cut.length:
                parted.append(document.id)
            is_text = document.kind == "text"
            opening = cut.opening if is_text else []
            for whole in _cut(encoded, cut.length, opening):
                piece = whole.part(0, cut.budget - used)
                if piece.counted.any():
                    used += len(piece.ids)
                    yield _Piece(document.id, is_text, piece, document.task, document.weight)
                if len(piece.ids) < len(whole.ids) or used == cut.budget:
                    return


def _cut(encoded: Encoded, length: int, opening: list[int]) -> Iterator[Encoded]:
    step = length - len(opening)
    for start in range(0, len(encoded.ids), step):
        part = encoded.part(start, start + step)
        counted = part.counted.copy()
        counted[0] = False
        yield replace(part, counted=counted).behind(opening)


def _join(pieces: list[_Piece], weights: npt.NDArray[np.float32] | None) -> Split:
    lengths = [len(piece.encoded.ids) for piece in pieces]
    return Split(
        ids=np.concatenate([piece.encoded.ids for piece in pieces]),
        counted=np.concatenate([piece.encoded.counted for piece in pieces]),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        num_bytes=np.array([_target_bytes(piece) for piece in pieces], dtype=np.int64),
        names=tuple(piece.name for piece in pieces),
        weights=weights,
    )


def _weights(pieces: list[_Piece]) -> npt.NDArray[np.float32] | None:
    """What a target of each piece counts; `None` where all count alike.

    A set's targets count 1 on average: beside other sets it weighs what it weighs without tasks and weights.
    """
    if all(piece.task is None and piece.weight is None for piece in pieces):
        return None
    weights = np.ones(len(pieces), dtype=np.float32)
    _weigh_tasks(pieces, weights)
    _weigh_documents(pieces, weights)
    return weights


def _weigh_tasks(pieces: list[_Piece], weights: npt.NDArray[np.float32]) -> None:
    """Each task has its share of its set's loss. Where the budget leaves one task alone, that one has all."""
    targets: dict[str, dict[LossTask, int]] = defaultdict(lambda: defaultdict(int))
    for piece in pieces:
        if piece.task is not None:
            targets[set_of(piece.name)][piece.task] += int(piece.encoded.counted.sum())
    for place, piece in enumerate(pieces):
        if piece.task is not None:
            tasks = targets[set_of(piece.name)]
            share = piece.task.share / sum(task.share for task in tasks)
            weights[place] = share * sum(tasks.values()) / tasks[piece.task]


def _weigh_documents(pieces: list[_Piece], weights: npt.NDArray[np.float32]) -> None:
    """Documents with a weight count by it, within their set."""
    targets: dict[str, int] = defaultdict(int)
    weighed: dict[str, float] = defaultdict(float)
    for piece in pieces:
        if piece.weight is not None:
            number = int(piece.encoded.counted.sum())
            targets[set_of(piece.name)] += number
            weighed[set_of(piece.name)] += piece.weight * number
    for place, piece in enumerate(pieces):
        # A set of which no document has any weight, since no two responses agree in a word, stays as it is.
        if piece.weight is not None and weighed[set_of(piece.name)] > 0:
            weights[place] *= piece.weight * targets[set_of(piece.name)] / weighed[set_of(piece.name)]


def _target_bytes(piece: _Piece) -> int:
    return int(piece.encoded.num_bytes[piece.encoded.counted].sum())


def _facts(pieces: list[_Piece]) -> dict[str, object]:
    sets: dict[str, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        sets[set_of(piece.name)].append(piece)
    return {**_count(pieces), "sets": {name: _count(members) for name, members in sets.items()}}


def _count(pieces: list[_Piece]) -> dict[str, int]:
    return {
        "documents": len({piece.name for piece in pieces}),
        "pieces": len(pieces),
        "tokens": sum(len(piece.encoded.ids) for piece in pieces),
        "counted_tokens": sum(int(piece.encoded.counted.sum()) for piece in pieces),
        "bytes": sum(map(_target_bytes, pieces)),
    }
