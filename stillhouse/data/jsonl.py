"""A user's own file: one JSON object a line, read strictly, each mistake named with its line."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stillhouse.data.document import Document, Message
from stillhouse.data.prompt_tests import check_tests
from stillhouse.errors import InputError

ROLES = ("system", "user", "assistant")
_FORM = 'each line is {"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}'


def read_jsonl(path: Path, set_name: str, limit: int | None = None) -> Iterator[Document]:
    """Read the documents of a file; a document's number is its line. Blank lines are passed over.

    Raises:
        InputError: At the first line that is not UTF-8, not a JSON object, or not a document; or if there is no
            document at all.
    """
    found = 0
    for document in islice(_documents(path, set_name), limit):
        found += 1
        yield document
    if not found:
        raise InputError(f"{path} holds no document; {_FORM}")


def _documents(path: Path, set_name: str) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            text = _decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, where)
            if text.strip():
                yield parse_row(_parse(text, where), document_id=f"{set_name}/{number}", where=where)


def _decode(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}): {text.strip()[:60]!r}; {_FORM}") from None
    if not isinstance(row, dict):
        raise InputError(f"{where} holds a JSON {_kind(row)}, not an object; {_FORM}")
    return row


def parse_row(row: dict[str, Any], *, document_id: str, where: str) -> Document:
    """Make a document of an object with `text` or `messages`, and `tests` where it is a prompt.

    Its other keys are not read.

    Raises:
        InputError: If it has neither or both, or if one is not what it must be.
    """
    if ("text" in row) == ("messages" in row):
        seen = "both text and messages" if "text" in row else f"neither text nor messages, only {sorted(row)[:8]}"
        raise InputError(f"{where} has {seen}; {_FORM}")
    if "text" in row:
        return Document(document_id, "text", _text(row["text"], f"{where}: text"))
    messages = _messages(row["messages"], where)
    if messages[-1]["role"] == "assistant":
        return Document(document_id, "messages", messages)
    return Document(document_id, "prompt", messages, tests=_tests(row.get("tests"), f"{where}: tests"))


def _tests(value: Any, where: str) -> str | None:
    """Python that runs something, as one text or line by line; an export of a table may have nothing there."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    tests = _text(value, where)
    check_tests(tests, where)
    return tests


def _messages(value: Any, where: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        seen = "an empty list" if value == [] else f"a JSON {_kind(value)}"
        raise InputError(f"{where}: messages is {seen}; it must be a list of {{role, content}}")
    messages = tuple(_message(turn, f"{where}: message {place}") for place, turn in enumerate(value, start=1))
    if messages[-1]["role"] == "system":
        raise InputError(
            f"{where}: the last message is the system's; it must be the assistant's, or the user's for a prompt "
            "that the teacher answers"
        )
    return messages


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        seen = f"has only {sorted(value)[:8]}" if isinstance(value, dict) else f"is a JSON {_kind(value)}"
        raise InputError(f"{where} {seen}; it must be an object with role and content")
    if value["role"] not in ROLES:
        raise InputError(f"{where} has the role {value['role']!r}; allowed are {', '.join(ROLES)}")
    return {"role": value["role"], "content": _text(value["content"], f"{where}: content")}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} is a JSON {_kind(value)}, not a string; write it as text")
    if not value.strip():
        raise InputError(f"{where} is empty; leave the line out")
    # JSON can spell half of a surrogate pair, which is no character and which no tokenizer takes.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{where} holds half of a surrogate pair (\\ud800 to \\udfff); write whole characters")
    return value


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
