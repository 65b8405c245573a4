"""Garbage collection: what no run needs goes, what anybody is making stays."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stillhouse.store import lock
from stillhouse.store.artifact import Reference
from stillhouse.store.beside import REQUESTS, model_digest
from stillhouse.store.store import Store


def collect(root: Path, needed: Callable[[], set[Reference]], *, dry_run: bool = False) -> list[str]:
    """Delete the artifacts and unfinished work that no run needs, and what models answered that no run needs.

    A run notes what it is going to need before it starts, so a run that is under way, or was killed and may go on,
    keeps its own. What another process is making at this moment is left alone in any case.

    Args:
        root: The store's folder.
        needed: Reads what the runs' folders name; called while no run is about to note something.
        dry_run: Only say what would go.

    Returns:
        A line for each thing deleted, with its size.
    """
    store = Store(root)
    with lock.locked(_noting(root)):
        kept = needed()
        unneeded = sorted(_found(root) - kept, key=str)
        lines = [line for reference in unneeded for line in _drop(store, reference, dry_run)]
        return lines + list(_drop_answers(root, _digests(store, kept), dry_run))


@contextmanager
def held_off(root: Path) -> Iterator[None]:
    """Let nothing be collected while a run plans and notes what it needs."""
    with lock.locked(_noting(root), shared=True):
        yield


def _noting(root: Path) -> Path:
    return root / "noting.lock"


def _found(root: Path) -> set[Reference]:
    folders = [path for path in root.glob("*/*") if path.is_dir() and path.parent.name != REQUESTS]
    return {Reference(path.parent.name, path.name.partition(".")[0]) for path in folders}


def _drop(store: Store, reference: Reference, dry_run: bool) -> Iterator[str]:
    with lock.locked_now(store.lock_file(reference)) as free:
        if not free:
            return
        unfinished = (store.partial(reference), store.work_aside(reference))
        for folder in (store.folder(reference), *unfinished):
            if folder.exists():
                yield f"{folder.parent.name}/{folder.name[:12]}  {_size_bytes(folder) / 1e6:.1f} MB"
        if not dry_run:
            store.remove(reference)
            for folder in unfinished:
                shutil.rmtree(folder, ignore_errors=True)


def _digests(store: Store, references: set[Reference]) -> set[str]:
    """Digests of the models that runs need and that are there."""
    found = set()
    for reference in references:
        # What a run names may be gone or damaged; it is made again when it is needed.
        with suppress(OSError, ValueError):
            found.add(model_digest(store.manifest(reference)))
    return found


def _drop_answers(root: Path, digests: set[str], dry_run: bool) -> Iterator[str]:
    """Delete what models answered that no run needs; a model that is asked at this moment is one that a run needs."""
    for folder in sorted((root / REQUESTS).glob("*")):
        if folder.name not in digests:
            yield f"{REQUESTS}/{folder.name[:12]}  {_size_bytes(folder) / 1e6:.1f} MB"
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
