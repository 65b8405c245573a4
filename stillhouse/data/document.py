"""A document: one text, one conversation, or one prompt or problem that still waits for its answer."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["text", "messages", "prompt", "problem"]
_OPTIONAL = ("task", "weight", "tests")
"""Fields that a line has only where they hold something."""
Message = dict[str, str]
"""One turn in chat form: `role` (system, user or assistant) and `content`."""


@dataclass(frozen=True)
class LossTask:
    """One of several things that a set teaches, and how much of the set's loss it is to be."""

    name: str
    share: float
    """Of the loss of the set's documents that belong to a task; the shares of its tasks add up to 1."""


@dataclass(frozen=True)
class Document:
    """What one line of a data set holds."""

    id: str
    """`set/number`; the number is the line of a file, or the place in a set that has no lines."""
    kind: Kind
    """`messages` ends with the assistant's turn, `prompt` and `problem` with the user's. A problem's answer comes with
    a rationale (`stillhouse.teachers.rationales`)."""
    content: str | tuple[Message, ...]
    """The text, or the turns."""
    ended: bool = True
    """False where an answer was cut off at its longest length, so that its end is not a thing to learn."""
    task: LossTask | None = None
    """`None` where all tokens of the set count alike."""
    weight: float | None = None
    """What its targets count in the training loss beside those of the other documents of its set that have a weight."""
    tests: str | None = None
    """Python that a prompt's response, a program, is run before; `None` where there is none."""

    @property
    def set_name(self) -> str:
        """The set that the document belongs to."""
        return self.id.rpartition("/")[0]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns of a conversation or prompt."""
        assert not isinstance(self.content, str), f"{self.id} is a text"
        return self.content


def prompt(document_id: str, question: str) -> Document:
    """A prompt of one user turn."""
    return Document(document_id, "prompt", ({"role": "user", "content": question},))


def problem(document_id: str, question: str) -> Document:
    """A problem of one user turn."""
    return Document(document_id, "problem", ({"role": "user", "content": question},))


def words(document: Document) -> str:
    """Everything that a document says: two documents with the same words are duplicates."""
    return document.content if isinstance(document.content, str) else _spoken(document.content)


def opening(document: Document) -> str:
    """A text, or a conversation up to its first user turn: documents that open alike belong to one split.

    So a question is never trained on in one split and reported on in another with a different answer.
    """
    if isinstance(document.content, str):
        return document.content
    asked = next((i for i, message in enumerate(document.content) if message["role"] == "user"), None)
    return _spoken(document.content if asked is None else document.content[: asked + 1])


def _spoken(messages: Sequence[Message]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents, one JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(_row(document), ensure_ascii=False) + "\n" for document in documents)


def read_documents(path: Path) -> Iterator[Document]:
    """Read what `write_documents` wrote."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            row = json.loads(line)
            content = row["content"]
            yield Document(
                id=row["id"],
                kind=row["kind"],
                content=content if isinstance(content, str) else tuple(content),
                ended=row["ended"],
                task=LossTask(**row["task"]) if "task" in row else None,
                weight=row.get("weight"),
                tests=row.get("tests"),
            )


def _row(document: Document) -> dict[str, Any]:
    row = asdict(document)
    return {name: value for name, value in row.items() if name not in _OPTIONAL or value is not None}
