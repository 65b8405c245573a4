"""Data sets of a hub, pinned to the commit that a branch named when the run was planned."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from stillhouse.data.document import Document
from stillhouse.data.jsonl import parse_row
from stillhouse.errors import InputError
from stillhouse.recipe.data import HubSet


def check_columns(hub_set: HubSet) -> None:
    """See that exactly one column is named, and tests only beside messages.

    Raises:
        InputError: If neither or both are, or tests are of texts.
    """
    if (hub_set.text_column is None) == (hub_set.messages_column is None):
        seen = "neither text_column nor messages_column" if hub_set.text_column is None else "both columns"
        raise InputError(f"data set {hub_set.path} names {seen}; name exactly one of text_column and messages_column")
    if hub_set.tests_column is not None and hub_set.messages_column is None:
        raise InputError(
            f"data set {hub_set.path} names tests_column {hub_set.tests_column!r}, but a text has no response to test; "
            "name messages_column, or leave tests_column out"
        )


def commit_of(hub_set: HubSet) -> str:
    """The commit that the set's default branch points at today.

    Raises:
        InputError: If the hub does not answer or has no such set.
    """
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(hub_set.path).sha
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot find data set {hub_set.path} on the hub: {_first_line(error)}; check the name, the network and "
            "the access rights, or export the set to a file and use `kind: jsonl`"
        ) from None
    assert commit is not None
    return commit


def read_hub(hub_set: HubSet, commit: str, set_name: str) -> Iterator[Document]:
    """Read the rows of a set as documents, numbered from 0; rows without words are passed over.

    Raises:
        InputError: If the set, its split or its column does not exist, a row is not a document, or no prompt has tests
            where a column of them is named.
    """
    columns = {"text": hub_set.text_column, "messages": hub_set.messages_column, "tests": hub_set.tests_column}
    named = {key: column for key, column in columns.items() if column is not None}
    has_tests = False
    for number, row in enumerate(islice(_rows(hub_set, commit), hub_set.limit)):
        for column in named.values():
            if column not in row:
                raise InputError(f"data set {hub_set.path} has no column {column!r}, only {sorted(row)}")
        found = {key: row[column] for key, column in named.items()}
        if found.get("text") or found.get("messages"):
            where = f"data set {hub_set.path}, row {number}"
            document = parse_row(found, document_id=f"{set_name}/{number}", where=where)
            has_tests = has_tests or document.tests is not None
            yield document
    if hub_set.tests_column is not None and not has_tests:
        raise InputError(
            f"data set {hub_set.path} names tests_column {hub_set.tests_column!r}, but no prompt of it has tests; name "
            "the column that holds them, or leave it out"
        )


def _rows(hub_set: HubSet, commit: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    try:
        # With a limit only the beginning is fetched.
        yield from load_dataset(
            hub_set.path,
            hub_set.config,
            split=hub_set.split,
            revision=commit,
            streaming=hub_set.limit is not None,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read data set {hub_set.path}, split {hub_set.split}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
