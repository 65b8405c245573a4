"""The store: makes an artifact once, and finds it again by what went into it."""

import inspect
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from stillhouse import machine, progress
from stillhouse.errors import Unavailable
from stillhouse.store import beside, fingerprint, lock, unavailable
from stillhouse.store.artifact import (
    FACTS,
    MANIFEST,
    WORK,
    Inputs,
    Manifest,
    Reference,
    digest_of,
    find_damage,
    hash_files,
    hash_json,
    read_manifest,
    write_manifest,
)

logger = logging.getLogger(__name__)


class StageSettings(Protocol):
    """What the store needs of settings: their JSON form. Pydantic models have it."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The settings as JSON values."""
        ...


Stage = Callable[[Any, Inputs, Path], None]
"""`(settings, inputs, folder) -> None`: fills the folder."""

References = Mapping[str, Reference]
"""What a stage reads, by the name it knows each input under."""


@dataclass(frozen=True)
class Store:
    """A folder of artifacts, `<kind>/<key>/`, shared by every run that uses it."""

    root: Path
    _intact: dict[Reference, str] = field(default_factory=dict, repr=False, compare=False)
    """Digests of the artifacts that this process has already verified."""

    def plan(self, stage: Stage, settings: StageSettings, inputs: References) -> Reference:
        """Name the artifact that `make` would give, without making anything."""
        module_file = Path(inspect.getsourcefile(stage) or "")
        key = hash_json(
            {
                "stage": stage.__name__,
                "settings": settings.model_dump(mode="json"),
                "inputs": {name: reference.key for name, reference in inputs.items()},
                "sources": fingerprint.source_hashes(module_file),
                "libraries": fingerprint.library_versions(module_file),
            }
        )
        return Reference(stage.__name__, key)

    def make(self, stage: Stage, settings: StageSettings, inputs: References) -> Reference:
        """Give the artifact of a stage, running the stage only if the store does not have it intact.

        What a killed attempt left in its `work` folder is handed to this one. An exception leaves it there.
        """
        reference = self.plan(stage, settings, inputs)
        with progress.of_stage(stage.__name__):
            waits = f"waits for another run that makes {reference}"
            with lock.locked(self.lock_file(reference), on_wait=lambda: progress.step(waits)):
                if self._is_intact(reference, inputs):
                    # Of an attempt that was ended when its artifact had its name.
                    shutil.rmtree(self.work_aside(reference), ignore_errors=True)
                    progress.step("found in the store", 1, 1)
                else:
                    self._run(stage, settings, inputs, reference)
        return reference

    def why_unavailable(self, reference: Reference) -> str | None:
        """Why this machine could not make an artifact when it was last tried; `None` where nothing is known."""
        return unavailable.reason(self._unavailable_file(reference))

    def _unavailable_file(self, reference: Reference) -> Path:
        return self.root / reference.kind / f"{reference.key}.unavailable"

    def folder(self, reference: Reference) -> Path:
        """Where an artifact lies, or would lie."""
        return self.root / reference.kind / reference.key

    def manifest(self, reference: Reference) -> Manifest:
        """The manifest of an artifact that was made."""
        return read_manifest(self.folder(reference))

    def facts(self, reference: Reference) -> dict[str, Any]:
        """What the stage said of its result."""
        return self.manifest(reference).facts

    def has(self, reference: Reference) -> bool:
        """Whether the artifact was finished; its files are not looked at."""
        return (self.folder(reference) / MANIFEST).is_file()

    def remove(self, reference: Reference) -> None:
        """Delete an artifact; its manifest goes first, so that half of it never counts."""
        folder = self.folder(reference)
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        self._intact.pop(reference, None)

    def partial(self, reference: Reference) -> Path:
        """Where an artifact is made, and where a killed attempt left its work."""
        return self.root / reference.kind / f"{reference.key}.partial"

    def work_aside(self, reference: Reference) -> Path:
        """Where the work of a finished stage lies until its artifact has its name."""
        return self.root / reference.kind / f"{reference.key}.work"

    def holds(self, reference: Reference, inputs: References | None = None) -> bool:
        """Whether the artifact is finished and whole, and made from its inputs as they are, if these are given."""
        try:
            return self.has(reference) and not self._damage(reference, self.manifest(reference), inputs)
        except (OSError, ValueError):
            return False

    def lock_file(self, reference: Reference) -> Path:
        """Whose lock whoever makes the artifact holds."""
        return self.root / reference.kind / f"{reference.key}.lock"

    def _is_intact(self, reference: Reference, inputs: References) -> bool:
        if not self.has(reference):
            return False
        try:
            manifest = self.manifest(reference)
        except ValueError as error:
            problems = [str(error)]
        else:
            problems = self._damage(reference, manifest, inputs)
        if problems:
            logger.warning("%s is made again: %s", reference, "; ".join(problems[:3]))
            progress.step(f"made again: {problems[0]}")
            self.remove(reference)
        return not problems

    def _damage(self, reference: Reference, manifest: Manifest, inputs: References | None) -> list[str]:
        today = None if inputs is None else {name: self.manifest(inner).digest for name, inner in inputs.items()}
        if today is not None and manifest.input_digests != today:
            return ["it was made from other bytes of its inputs than the store holds now"]
        if self._intact.get(reference) == manifest.digest:
            return []
        problems = find_damage(self.folder(reference), manifest)
        if not problems:
            self._intact[reference] = manifest.digest
        return problems

    def _run(self, stage: Stage, settings: StageSettings, inputs: References, reference: Reference) -> None:
        folder, work = self.partial(reference), self.work_aside(reference)
        if self.folder(reference).exists():
            # Half of what was being deleted; in its place nothing could be published.
            shutil.rmtree(self.folder(reference))
        _clear_all_but_work(folder)
        if work.exists() and not (folder / WORK).exists():
            # An attempt that was ended while it hashed, or before all was on the disk.
            work.rename(folder / WORK)
        progress.step("starts")
        with machine.in_use() as use:
            started = time.monotonic()
            machine.forget_peak_memory()
            try:
                with beside.offered(self.root):
                    stage(settings, {name: self.folder(inner) for name, inner in inputs.items()}, folder)
            except Unavailable as error:
                unavailable.note(self._unavailable_file(reference), str(error))
                raise
            peak_memory_bytes = max(machine.peak_memory_bytes(), use.child_peak_memory_bytes)
            seconds = round(time.monotonic() - started - use.waited_seconds, 3)
        # No part of the artifact, and not to be lost before that has its name.
        shutil.rmtree(work, ignore_errors=True)
        if (folder / WORK).exists():
            (folder / WORK).rename(work)
        module_file = Path(inspect.getsourcefile(stage) or "")
        files = hash_files(folder)
        facts = folder / FACTS
        manifest = Manifest(
            kind=reference.kind,
            key=reference.key,
            digest=digest_of(files),
            settings=settings.model_dump(mode="json"),
            inputs={name: inner.key for name, inner in inputs.items()},
            input_digests={name: self.manifest(inner).digest for name, inner in inputs.items()},
            sources=fingerprint.source_hashes(module_file),
            libraries=fingerprint.library_versions(module_file),
            files=files,
            facts=json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else {},
            hardware=machine.hardware(),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=seconds,
            peak_memory_bytes=peak_memory_bytes,
        )
        write_manifest(manifest, folder)
        _publish(folder, self.folder(reference))
        shutil.rmtree(work, ignore_errors=True)
        self._intact[reference] = manifest.digest
        progress.step("done", 1, 1, {"seconds": manifest.seconds})


def _clear_all_but_work(folder: Path) -> None:
    """Keep only what an earlier attempt meant to be found: a stray file must not become part of an artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.name == WORK:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _publish(partial: Path, folder: Path) -> None:
    """Make the folder durable and read-only, then give it its name in one step."""
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_file():
            path.chmod(0o444)
        _flush(path)
    _flush(partial)
    os.rename(partial, folder)
    _flush(folder.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
