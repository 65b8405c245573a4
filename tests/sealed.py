"""A folder as a package: with a manifest that names its files."""

from pathlib import Path
from typing import Any

from stillhouse.store.artifact import Manifest, digest_of, hash_files, write_manifest


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of whatever lies in the folder."""
    files = hash_files(folder)
    told = dict.fromkeys(("settings", "inputs", "input_digests", "sources", "libraries", "hardware"), {})
    same = {"made_at": "", "seconds": 0.0, "peak_memory_bytes": 0, "key": "0" * 64}
    manifest = Manifest(kind="build_package", digest=digest_of(files), files=files, facts=facts, **told, **same)
    write_manifest(manifest, folder)
