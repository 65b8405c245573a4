"""An artifact: an immutable folder whose `manifest.json`, written last, says what it is and how it came to be."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
FACTS = "facts.json"
WORK = "work"

Inputs = Mapping[str, Path]
"""What a stage is given: the folder of each input artifact, by the name the stage knows it under."""


@dataclass(frozen=True)
class Reference:
    """An artifact's name: the stage that makes it and the hash of everything that goes in."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key[:12]}"


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything that is known of an artifact, in the open."""

    kind: str
    """Name of the stage."""
    key: str
    """SHA-256 over kind, settings, input keys, sources and libraries."""
    digest: str
    """SHA-256 over the files: names, sizes and contents."""
    settings: dict[str, Any]
    """The stage's settings with every `auto` decided."""
    inputs: dict[str, str]
    """Name of each input and its key."""
    input_digests: dict[str, str]
    """Name of each input and the digest of the bytes that were really read."""
    sources: dict[str, str]
    """Project files in the stage's import closure, and their SHA-256."""
    libraries: dict[str, str]
    """Versions of the libraries that the closure imports, and of Python."""
    files: dict[str, FileRecord]
    """Every file, by its path within the artifact."""
    facts: dict[str, Any]
    """What the stage said of its result (`facts.json`)."""
    hardware: dict[str, Any]
    """Where it was made."""
    made_at: str
    """When, in UTC."""
    seconds: float
    """Wall time of the attempt that finished, less what it waited for other runs."""
    peak_memory_bytes: int
    """Highest resident memory of one process while the stage ran: this one, or a child that worked for it."""


def read_manifest(folder: Path) -> Manifest:
    """Read an artifact's manifest.

    Raises:
        FileNotFoundError: If there is none: the artifact was never finished.
        ValueError: If it is not a manifest.
    """
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    try:
        files = {path: FileRecord(**record) for path, record in content.pop("files").items()}
        return Manifest(files=files, **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / MANIFEST} is not an artifact's manifest: {error}") from None


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json`, which makes the folder an artifact."""
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_files(folder: Path) -> dict[str, FileRecord]:
    """Hash every file of a folder but its manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {path.relative_to(folder).as_posix(): FileRecord(hash_file(path), path.stat().st_size) for path in paths}


def digest_of(files: Mapping[str, FileRecord]) -> str:
    """One SHA-256 for a set of files."""
    return hash_json({path: [record.sha256, record.size_bytes] for path, record in files.items()})


def find_damage(folder: Path, manifest: Manifest) -> list[str]:
    """Say what is wrong with an artifact's files, a line each; nothing if they are as the manifest says."""
    found = hash_files(folder)
    missing = [f"{path} is missing" for path in manifest.files if path not in found]
    extra = [f"{path} does not belong there" for path in found if path not in manifest.files]
    changed = [
        f"{path} was changed: sha256 {found[path].sha256[:12]}, manifest says {record.sha256[:12]}"
        for path, record in manifest.files.items()
        if path in found and found[path] != record
    ]
    wrong = [] if digest_of(manifest.files) == manifest.digest else [f"{MANIFEST} contradicts its own digest"]
    return missing + extra + changed + wrong
