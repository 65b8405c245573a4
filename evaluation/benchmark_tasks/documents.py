"""The documents of a benchmark that are asked: read from the package that carries them, or made."""

import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from evaluation.benchmark_files import BenchmarkFile, GeneratedBenchmark, asked_of, spread_evenly
from evaluation.benchmark_tasks.generated import generate

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""A document, by its columns."""
Change = Callable[[Row, int], Mapping[str, Any]]
"""From a document and its number in the packaged file to the columns that are written anew."""


@dataclass(frozen=True)
class Documents:
    """Those that are asked, in order."""

    numbers: tuple[int, ...]
    """Where each stands among all documents of the benchmark."""
    table: "pa.Table"
    """Their columns."""

    @property
    def rows(self) -> list[Row]:
        """One document each."""
        rows: list[Row] = self.table.to_pylist()
        return rows


def choose_documents(
    file: BenchmarkFile, documents: int, *, among: int | None = None, change: Change | None = None
) -> Documents:
    """Take documents that are spread evenly over all of a benchmark, or make the first ones.

    Args:
        file: The benchmark.
        documents: How many; all where it holds fewer.
        among: Where given, they are some of the so many that are asked of others.
        change: What is done to each document.
    """
    import pyarrow as pa

    wanted = asked_of(file, documents)
    if isinstance(file, GeneratedBenchmark):
        numbers = list(range(wanted))
        chosen = pa.Table.from_pylist(generate(file.generator, wanted))
    else:
        everything = _read(file.archive, file.member)
        assert len(everything) == file.documents, f"{file.name} has {len(everything)} documents"
        asked = spread_evenly(file.documents, asked_of(file, among or documents))
        numbers = [asked[place] for place in spread_evenly(len(asked), min(wanted, len(asked)))]
        chosen = everything.take(numbers)
    if change is not None:
        rows = [{**row, **change(row, number)} for row, number in zip(chosen.to_pylist(), numbers, strict=True)]
        chosen = pa.Table.from_pylist(rows, schema=chosen.schema)
    return Documents(tuple(numbers), chosen)


def group_numbers(rows: Iterable[Row], column: str) -> list[int]:
    """Number the groups of documents that share a value, by first appearance."""
    known: dict[str, int] = {}
    return [known.setdefault(str(row[column]), len(known)) for row in rows]


@lru_cache(maxsize=8)
def _read(archive: str, pattern: str) -> "pa.Table":
    """All documents of one file, or of several one after the other."""
    import pyarrow as pa

    from stillhouse.data.archives import read_members

    contents = read_members(archive, pattern)
    match "".join(PurePosixPath(pattern).suffixes[-2:]):
        case ".jsonl.gz":
            return pa.Table.from_pylist([row for each in contents for row in _requested(gzip.decompress(each))])
        case ".jsonl":
            return pa.Table.from_pylist([row for each in contents for row in _lines(each)])
        case _:
            return pa.concat_tables(pa.ipc.open_stream(io.BytesIO(each)).read_all() for each in contents)


def _lines(content: bytes) -> list[Row]:
    # Not `splitlines`: a line separator may stand in a text.
    return [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]


def _requested(content: bytes) -> list[Row]:
    """The distinct documents of ready requests, each of which asks for one of a document's answers.

    Where the request says what is read before the answer, examples included, that is the column `context`.
    """
    distinct: dict[str, Row] = {}
    for row in _lines(content):
        asked = {"context": row["request"]["context"]} if "context" in row["request"] else {}
        distinct.setdefault(json.dumps(row["doc"], sort_keys=True), asked | row["doc"])
    return list(distinct.values())
