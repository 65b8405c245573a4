"""The stage `measure_contamination`: do benchmarks occur in the training data? Told by runs of words that both have.

A run of 13 words that two texts share is hardly ever chance (Brown et al., 2020, arXiv:2005.14165, appendix C), yet two
pages of an encyclopedia share such runs and say different things. A document therefore occurs if shared runs cover half
of its passage or of its question; one that shares any run at all is counted beside it. Questions of fewer words are
covered where they stand in a training document from end to end; those below five words are not looked for.
What this does not find: the same said in other words, or in another language.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from evaluation.benchmark_files import BenchmarkFile, benchmark
from evaluation.benchmark_tasks.documents import Row, choose_documents
from stillhouse import progress
from stillhouse.data.document import read_documents, words
from stillhouse.errors import InputError
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

RUN_WORDS = 13
SHORTEST_WORDS = 5
COVERED = 0.5
"""Share of a text's words from which on it occurs in the training data."""
_WORD = re.compile(r"\w+")
_EXAMPLES = 3


class ContaminationSettings(Settings):
    """What is looked for."""

    benchmarks: tuple[str, ...]
    """Names of files in `evaluation/benchmarks/`."""
    documents: int = Field(ge=2)
    """Documents of each benchmark; all of one that holds fewer."""
    contaminated_at_most: float = Field(ge=0, le=1)
    """Largest share of a benchmark's documents that may occur in the training data."""


def contamination_settings(asked: Evaluation) -> ContaminationSettings:
    """The part of the section `evaluation` that says what must not be trained on."""
    return ContaminationSettings(
        benchmarks=asked.benchmarks, documents=asked.documents, contaminated_at_most=asked.contaminated_at_most
    )


def measure_contamination(settings: ContaminationSettings, inputs: Inputs, folder: Path) -> None:
    """Look for benchmarks in `inputs["documents"]`, before anything is trained on them.

    `facts.json` holds for each benchmark that has text to look for the `share` of its documents that occur, out of how
    many `documents`, and how many were `found`, `touched` or `too_short`.

    Raises:
        InputError: If more of a benchmark occurs than is allowed.
    """
    asked = [(benchmark(name), settings.documents) for name in settings.benchmarks]
    found = check_contamination(inputs["documents"], asked, at_most=settings.contaminated_at_most)
    facts = {name: as_record(overlap) for name, overlap in found.items()}
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Overlap:
    """What of one benchmark occurs in the training data."""

    documents: int
    """Those that were looked for: asked, and long enough."""
    found: int
    """Those of them that occur."""
    touched: int
    """Those that share a run of words with a training document, whether they occur or not."""
    too_short: int
    """Documents of fewer words than are looked for."""
    examples: tuple[str, ...]
    """Some of those that occur, in words."""

    @property
    def share(self) -> float:
        """Of the documents that were looked for, how much occurs."""
        return self.found / self.documents if self.documents else 0.0


def check_contamination(
    documents: Path, benchmarks: Sequence[tuple[BenchmarkFile, int]], *, at_most: float
) -> dict[str, Overlap]:
    """Look for the documents of benchmarks in the training data, and refuse those that occur there.

    Args:
        documents: What `gather_documents` made; its training part is read.
        benchmarks: Each with the number of its documents that are asked.
        at_most: The largest share of a benchmark's documents that may occur.

    Returns:
        What was found, by the benchmarks' names; those without columns to look for are left out.

    Raises:
        InputError: If more of a benchmark occurs.
    """
    found = find_overlaps(documents / "train.jsonl", benchmarks)
    for name, overlap in found.items():
        if overlap.share > at_most:
            examples = "; ".join(overlap.examples)
            raise InputError(
                f"of {name}, {overlap.share:.1%} of the documents ({overlap.found} of {overlap.documents}) occur in "
                f"the training data, and evaluation.contaminated_at_most is {at_most:.1%}: {examples}; leave "
                f"{name} out of evaluation.benchmarks, or the set that holds them out of data.sets"
            )
    return found


def find_overlaps(training: Path, benchmarks: Sequence[tuple[BenchmarkFile, int]]) -> dict[str, Overlap]:
    """Look for the documents of benchmarks in a file of training documents; arguments as of `check_contamination`."""
    runs = _Runs()
    looked_for: dict[str, list[_Text]] = {}
    for file, documents in benchmarks:
        if file.compared:
            looked_for[file.name] = _texts(file, choose_documents(file, documents).rows)
            for text in looked_for[file.name]:
                runs.add(text, len(text.words) if file.compared_whole else min(len(text.words), RUN_WORDS))
    for count, document in enumerate(read_documents(training), start=1):
        if count % 500 == 0:
            progress.step(f"looks for benchmarks in the training data, {count:,} documents read")
        for text, start, length in runs.of(_words(words(document))):
            text.covered.update(range(start, start + length))
            text.where = text.where or f"document {text.number} in {document.id}"
    return {name: _overlap(texts) for name, texts in looked_for.items()}


@dataclass
class _Text:
    """A column of a benchmark's document."""

    number: int
    """Of the document, among those that are asked."""
    words: list[str]
    covered: set[int] = field(default_factory=set)
    """Places of the words that stand in a run that a training document has."""
    where: str = ""
    """Where the first such run was seen."""

    @property
    def occurs(self) -> bool:
        return len(self.covered) >= COVERED * len(self.words) > 0

    @property
    def shown(self) -> str:
        start = min(self.covered)
        return f"{self.where}, {' '.join(self.words[start : start + RUN_WORDS])[:80]!r}"


@dataclass
class _Runs:
    """Runs of words and the texts that have them; looked up by their first two words before they are spelt."""

    places: dict[str, list[tuple[_Text, int]]] = field(default_factory=dict)
    lengths: dict[tuple[str, str], set[int]] = field(default_factory=dict)

    def add(self, text: _Text, length: int) -> None:
        """Add every run of a text."""
        if len(text.words) < SHORTEST_WORDS:
            return
        for start in range(len(text.words) - length + 1):
            run = text.words[start : start + length]
            self.places.setdefault(" ".join(run), []).append((text, start))
            self.lengths.setdefault((run[0], run[1]), set()).add(length)

    def of(self, read: Sequence[str]) -> Iterator[tuple[_Text, int, int]]:
        """Find the texts that have a run of this one, where in them it begins, and how many words it has."""
        for start, pair in enumerate(zip(read, read[1:], strict=False)):
            for length in self.lengths.get(pair, ()):
                for text, place in self.places.get(" ".join(read[start : start + length]), ()):
                    yield text, place, length


def _texts(file: BenchmarkFile, rows: Sequence[Row]) -> list[_Text]:
    return [_Text(number, _words(str(row[column]))) for number, row in enumerate(rows) for column in file.compared]


def _overlap(texts: Sequence[_Text]) -> Overlap:
    long_enough = {text.number for text in texts if len(text.words) >= SHORTEST_WORDS}
    occurring = {text.number: text for text in texts if text.occurs}
    return Overlap(
        documents=len(long_enough),
        found=len(occurring),
        touched=len({text.number for text in texts if text.covered}),
        too_short=len({text.number for text in texts} - long_enough),
        examples=tuple(text.shown for text in list(occurring.values())[:_EXAMPLES]),
    )


def as_record(overlap: Overlap) -> dict[str, Any]:
    """Return what `facts.json` holds of it."""
    return {
        "share": overlap.share,
        "documents": overlap.documents,
        "found": overlap.found,
        "touched": overlap.touched,
        "too_short": overlap.too_short,
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
