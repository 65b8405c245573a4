"""On-policy steps: the student goes on with the step's texts itself, and learns what its teacher thinks of that.

Agarwal et al., 2024 (GKD), arXiv:2306.13649. A student that is only ever shown other people's text has never seen what
follows its own mistakes. Nothing of the sampling has a gradient: what was written is text like any other.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from stillhouse.data.dataset import Split
from stillhouse.data.packing import pack
from stillhouse.models.continuing import continue_batch
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import OnPolicy
from stillhouse.serving.language_model import Choose
from stillhouse.serving.nucleus import draw
from stillhouse.training.batches import Batch
from stillhouse.training.saving_memory import activations_kept
from stillhouse.training.text import PackedText

logger = logging.getLogger(__name__)

_ENOUGH_STEPS = 10
"""On-policy steps after which it is said that no text ended."""
# Last in a seed, so that no other list of numbers that a generator here begins with is the same.
_WHETHER, _WHAT = 5_101, 5_102


@dataclass(frozen=True)
class Writer:
    """A student that writes."""

    student: PreTrainedModel
    vocabulary_size: int
    """Of the tokenizer: rows of the head beyond it are no tokens."""
    ends: frozenset[int]
    """Tokens that end a text."""
    asked: OnPolicy
    compute: Compute


@dataclass(frozen=True)
class OwnText:
    """What the student wrote in a step, in this process."""

    batches: list[Batch]
    """Its text behind the prompts; only what it wrote is counted."""
    texts: int
    tokens: int
    """Written, the ones that end a text included."""
    ended: int
    """Texts that it ended itself."""


def is_on_policy(asked: OnPolicy | None, step: int, seed: int) -> bool:
    """Whether a step is trained on the student's own text: drawn from seed and step alone."""
    return asked is not None and np.random.default_rng([seed, step, _WHETHER]).random() < asked.share


def write_own_text(writer: Writer, text: PackedText, parts: Sequence[Sequence[Sequence[int]]], step: int) -> OwnText:
    """Let the student go on with documents, and lay out what comes of it as the training text is laid out.

    A conversation is gone on with where its last answer begins, a text after its first half. What is drawn depends on
    seed, step and document, not on what is written beside it.

    Args:
        writer: The student as it is now.
        text: The training text.
        parts: Rows of documents, those of a forward pass together.
        step: Of the optimizer.
    """
    written: list[_Written] = []
    for rows in parts:
        written += _continue(writer, text, [document for row in rows for document in row], step)
    split = _joined(text.split, written)
    own = replace(text, split=split, rows=pack(split.starts, text.sequence_length))
    new = [each.new for each in written]
    ended = sum(ids[-1] in writer.ends for ids in new)
    return OwnText(list(own.batches(own.rows)), len(new), sum(map(len, new)), ended)


def tell_endless(made: Sequence[Mapping[str, float]], asked: OnPolicy) -> None:
    """Say once, while most of the training is still to come, that a student ends nothing of what it writes.

    Args:
        made: What was written down of each step so far, the newest last.
        asked: For the words.
    """
    # One more than enough, so that a long training does not read all of its steps at each of them.
    own = list(islice((entry["own_text_ended"] for entry in made if entry.get("on_policy")), _ENOUGH_STEPS + 1))
    if len(own) == _ENOUGH_STEPS and made[-1].get("on_policy") and not any(own):
        logger.warning(
            "in %d on-policy steps the student ended none of the texts that it went on with, each by up to %d tokens, "
            "so it sees no end of its own; raise distillation.on_policy.max_new_tokens (each a pass of the student), "
            "or begin with a student that can write (student.kind model)",
            len(own),
            asked.max_new_tokens,
        )


@dataclass(frozen=True)
class _Written:
    document: int
    prompt: list[int]
    new: list[int]


def _continue(writer: Writer, text: PackedText, documents: Sequence[int], step: int) -> list[_Written]:
    """Side by side; each as far as its row has room."""
    asked, compute, split = writer.asked, writer.compute, text.split
    prompts = [_prompt(split, document) for document in documents]
    rooms = [min(asked.max_new_tokens, text.sequence_length - len(prompt)) for prompt in prompts]

    def goes_on(row: int, _token: int) -> bool:
        rooms[row] -= 1
        return rooms[row] > 0

    with (
        activations_kept(writer.student),
        torch.autocast(torch.device(text.device).type, torch.bfloat16, enabled=compute.precision == "bf16"),
    ):
        found = continue_batch(
            writer.student,
            prompts,
            max_new_tokens=asked.max_new_tokens,
            stop_ids=writer.ends,
            choose=[_chooser(writer, [compute.seed, step, document, _WHAT]) for document in documents],
            on_step=goes_on,
        )
    return [
        _Written(document, prompt, each.ids) for document, prompt, each in zip(documents, prompts, found, strict=True)
    ]


def _prompt(split: Split, document: int) -> list[int]:
    place = slice(int(split.starts[document]), int(split.starts[document + 1]))
    ids: list[int] = split.ids[place].tolist()
    return ids[: prompt_length(split.counted[place])]


def prompt_length(counted: npt.NDArray[np.bool_]) -> int:
    """Tokens of a document that the student goes on from: up to the last answer, or half of a text.

    Args:
        counted: True where a token is a target; the first one of a document never is.
    """
    if counted[1:].all():
        return max(1, len(counted) // 2)
    last = int(np.flatnonzero(counted)[-1])
    return int(np.flatnonzero(~counted[:last])[-1]) + 1


def _chooser(writer: Writer, seed: Sequence[int]) -> Choose:
    generator, temperature = np.random.default_rng(seed), writer.asked.temperature
    return lambda logits: draw(logits[: writer.vocabulary_size], temperature, 1.0, generator)


def _joined(split: Split, written: Sequence[_Written]) -> Split:
    """The written texts under the names and weights of their documents."""
    lengths = [len(each.prompt) + len(each.new) for each in written]
    counted = [[False] * len(each.prompt) + [True] * len(each.new) for each in written]
    documents = [each.document for each in written]
    return Split(
        ids=np.concatenate([np.array(each.prompt + each.new, dtype=np.int32) for each in written]),
        counted=np.concatenate([np.array(each, dtype=np.bool_) for each in counted]),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        num_bytes=np.zeros(len(written), dtype=np.int64),
        names=tuple(split.names[document] for document in documents),
        weights=None if split.weights is None else split.weights[documents],
    )
