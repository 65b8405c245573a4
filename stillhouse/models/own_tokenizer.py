"""Stage: a tokenizer of the student's own, learned from the training documents."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.data.document import read_documents
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import TrainedTokenizer
from stillhouse.store.artifact import FACTS, Inputs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BYTES = 256


class TrainTokenizerSettings(Settings):
    """What the tokenizer is to be."""

    tokenizer: TrainedTokenizer
    """The recipe's section."""


def train_tokenizer(settings: TrainTokenizerSettings, inputs: Inputs, folder: Path) -> None:
    """Write a byte-level BPE of the training documents, which merges the most frequent pairs of all of them.

    Special tokens and chat template are the teacher's, so that both models read one rendering of a conversation.

    Args:
        settings: Its size.
        inputs: `documents`, and `teacher`.
        folder: Gets the tokenizer.

    Raises:
        InputError: If bytes and special tokens alone are more than it may have.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    teacher = open_tokenizer(inputs["teacher"])
    special = _special(teacher)
    wanted = settings.tokenizer.vocabulary
    if wanted < _BYTES + len(special):
        raise InputError(
            f"student.tokenizer.vocabulary is {wanted}, but {_BYTES} bytes and the teacher's {len(special)} special "
            f"tokens come before any word; ask for more than {_BYTES + len(special)}"
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=wanted,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(inputs["documents"]), trainer)
    roles = {role: token for role, token in teacher.special_tokens_map.items() if token in special}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        **roles,
        model_max_length=teacher.model_max_length,
        clean_up_tokenization_spaces=False,
        model_input_names=list(teacher.model_input_names),
    )
    tokenizer.chat_template = teacher.chat_template
    tokenizer.save_pretrained(folder)
    facts = {"tokens": len(tokenizer), "special": len(special), "teacher_tokens": len(teacher)}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _special(tokenizer: "PreTrainedTokenizerFast") -> list[str]:
    """Its special tokens, in the order of their ids."""
    added = sorted(tokenizer.added_tokens_decoder.items())
    return list(dict.fromkeys([token.content for _, token in added if token.special] + tokenizer.all_special_tokens))


def _texts(documents: Path) -> Iterator[str]:
    for document in read_documents(documents / "train.jsonl"):
        if isinstance(document.content, str):
            yield document.content
        else:
            yield from (message["content"] for message in document.content)
