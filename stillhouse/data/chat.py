"""Text and conversations as token ids, with a mark on each token that is a target.

In a text every token but the first is a target. In a conversation only what the assistant says is, with the token
that ends its turn; what the prompt says is context. The teacher's own chat template renders conversations, and
rendering a conversation's beginnings shows where each answer lies, so any template works.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stillhouse.data.document import Document, Message
from stillhouse.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Encoded:
    """The tokens of one document, or of a part of it: four arrays of one length."""

    ids: npt.NDArray[np.int32]
    counted: npt.NDArray[np.bool_]
    """True where the token is a target."""
    num_bytes: npt.NDArray[np.int32]
    """UTF-8 bytes of text that each token spells; 0 for special tokens."""
    ends: npt.NDArray[np.int64]
    """The character of the text after the last one that each token spells; it never falls."""
    text: str
    """The document as it was encoded, a conversation with its special tokens."""

    def behind(self, opening: Sequence[int]) -> "Encoded":
        """The same behind special tokens, which spell nothing; its first token is predicted from them."""
        if not opening or (len(self.ids) and self.ids[0] == opening[0]):
            return self
        none = np.zeros(len(opening), dtype=np.int64)
        counted = self.counted.copy()
        counted[:1] = True
        return Encoded(
            np.concatenate([none + opening, self.ids]).astype(np.int32),
            np.concatenate([none > 0, counted]),
            np.concatenate([none, self.num_bytes]).astype(np.int32),
            np.concatenate([none, self.ends]),
            self.text,
        )

    def part(self, start: int, end: int) -> "Encoded":
        """Some of its tokens, and the text that they spell."""
        place = slice(start, end)
        first = int(self.ends[start - 1]) if start else 0
        ends = self.ends[place] - first
        text = self.text[first : first + int(ends[-1])] if len(ends) else ""
        return Encoded(self.ids[place], self.counted[place], self.num_bytes[place], ends, text)


@dataclass(frozen=True)
class _Span:
    """Characters of a rendered conversation that are one answer."""

    start: int
    end: int
    closed: bool
    """Whether the characters that end the turn are among them."""


def encode_batch(tokenizer: "PreTrainedTokenizerFast", documents: Sequence[Document]) -> list[Encoded]:
    """Encode texts and answered conversations together, which is many times faster than one by one.

    No special token is added: a template has written its own, and a text gets its own in every piece
    (`Encoded.behind`).

    Raises:
        InputError: If a conversation does not fit the chat template, or there is none.
    """
    if not documents:
        return []
    texts = [_text(tokenizer, document) for document in documents]
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    special = _special_ids(tokenizer)
    encoded = []
    for document, text, ids, offsets in zip(documents, texts, batch["input_ids"], batch["offset_mapping"], strict=True):
        token_ids = np.asarray(ids, dtype=np.int32)
        places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        is_special = np.isin(token_ids, special)
        if isinstance(document.content, str):
            counted = np.ones(len(token_ids), dtype=np.bool_)
        else:
            spans = list(_answers(tokenizer, document.content, text))
            counted = _count(spans, places[:, 0], is_special, ended=document.ended)
        counted[:1] = False
        num_bytes = np.where(is_special, 0, _bytes_spelled(text, places[:, 1])).astype(np.int32)
        ends = np.maximum.accumulate(places[:, 1])
        encoded.append(_until_last_target(Encoded(token_ids, counted, num_bytes, ends, text)))
    return encoded


def render(tokenizer: "PreTrainedTokenizerFast", messages: Sequence[Message], *, answer_next: bool = False) -> str:
    """Write a conversation out as the chat template has it, special tokens spelled.

    Args:
        tokenizer: Holds the template.
        messages: The turns.
        answer_next: End with what makes the model answer.

    Raises:
        InputError: If there is no template or it refuses the turns.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise InputError(
            f"the data hold conversations or prompts, and the model {tokenizer.name_or_path} has no chat template; "
            "use an instruction-tuned model, or data of plain text only"
        )
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer_next))
    except TemplateError as error:
        raise InputError(f"the model's chat template refuses a conversation: {error}") from None


def _text(tokenizer: "PreTrainedTokenizerFast", document: Document) -> str:
    if isinstance(document.content, str):
        return document.content
    try:
        return render(tokenizer, document.content)
    except InputError as error:
        raise InputError(f"document {document.id}: {error}") from None


def _answers(tokenizer: "PreTrainedTokenizerFast", messages: Sequence[Message], text: str) -> Iterator[_Span]:
    """Where the assistant's turns lie in the rendered text."""
    searched_to = 0
    for place, message in enumerate(messages):
        found = text.find(message["content"].strip(), searched_to)
        content = None if found < 0 else _Span(found, found + len(message["content"].strip()), closed=False)
        if content is not None:
            searched_to = content.end
        if message["role"] == "assistant":
            span = _between_beginnings(tokenizer, messages, place, text) or content
            if span is not None:
                yield span


def _between_beginnings(
    tokenizer: "PreTrainedTokenizerFast", messages: Sequence[Message], place: int, text: str
) -> _Span | None:
    """The answer at `place`, found as what it adds to the text; `None` where the template rewrites earlier turns.

    Templates of reasoning models do: they leave the thoughts of all turns but the last out.
    """
    try:
        before = render(tokenizer, messages[:place], answer_next=True)
        after = text if place + 1 == len(messages) else render(tokenizer, messages[: place + 1])
    except InputError:
        return None
    if not text.startswith(before) or not text.startswith(after):
        return None
    return _Span(len(before), len(after), closed=True)


def _count(
    spans: Sequence[_Span],
    starts: npt.NDArray[np.int64],
    is_special: npt.NDArray[np.bool_],
    *,
    ended: bool,
) -> npt.NDArray[np.bool_]:
    """Mark each answer up to the special token that ends its turn.

    Args:
        spans: The answers, in characters.
        starts: First character of each token.
        is_special: Whether each token is a special one.
        ended: False if the last answer was cut off: the end of its turn is then no target.
    """
    counted = np.zeros(len(starts), dtype=np.bool_)
    for place, span in enumerate(spans):
        first, last = (int(found) for found in np.searchsorted(starts, (span.start, span.end)))
        if not span.closed and last < len(starts) and is_special[last]:
            last += 1
        closing = np.flatnonzero(is_special[first:last])
        if len(closing):
            keeps_end = ended or place + 1 < len(spans)
            last = first + int(closing[-1]) + int(keeps_end)
        counted[first:last] = True
    return counted


def _bytes_spelled(text: str, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """UTF-8 bytes from the end of one token to the end of the next, so that none is lost or counted twice."""
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (code_points > 0x7F).astype(np.int64) + (code_points > 0x7FF) + (code_points > 0xFFFF)
    bytes_before = np.concatenate([[0], np.cumsum(widths)])
    return np.diff(bytes_before[np.maximum.accumulate(ends)], prepend=0)


def _until_last_target(encoded: Encoded) -> Encoded:
    """Leave out what follows the last target: nothing is learned from it."""
    targets = np.flatnonzero(encoded.counted)
    return encoded.part(0, int(targets[-1]) + 1 if len(targets) else 0)


def _special_ids(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Tokens that mark structure: declared special, or added ones that spell more than white space."""
    added = tokenizer.added_tokens_decoder.items()
    marks = (number for number, token in added if token.special or token.content.strip())
    return sorted({*tokenizer.all_special_ids, *marks})
