"""What a stage may keep beside the artifacts: answers that cost much, found again by what was asked.

A stage stays a function of its settings and inputs. What it finds here is what it would work out again, so it only
decides how long the work takes. Like `progress`, it is there while a store runs the stage; without one nothing is kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from stillhouse.store.artifact import FACTS, Manifest, digest_of

REQUESTS = "requests"
"""The folder of what models answered, `<root>/requests/<digest of the model>/`."""
_FOR_THE_REPORT = (FACTS, "history.json", "ranking.json", "widths.json", "low_rank.json", "refit.json")
"""Files that stages write beside a model; they decide nothing that it answers."""

_root: ContextVar[Path | None] = ContextVar("root", default=None)


@contextmanager
def offered(root: Path | None) -> Iterator[None]:
    """Let what runs inside the block keep answers in the store at `root`, or nowhere."""
    token = _root.set(root)
    try:
        yield
    finally:
        _root.reset(token)


def root() -> Path | None:
    """Root of the store that runs this; `None` where none does. A process of one's own is told it."""
    return _root.get()


def folder_of_answers(digest: str) -> Path | None:
    """Where the answers of a model are kept; `None` where no store runs this."""
    found = root()
    return None if found is None else found / REQUESTS / digest


def model_digest(manifest: Manifest) -> str:
    """SHA-256 over the files of a model that decide what it answers, however the model came into the store."""
    return digest_of({path: record for path, record in manifest.files.items() if path not in _FOR_THE_REPORT})
