"""`cache.json`: what a cache is a cache of, and the checksum of every file of every shard."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import InputError
from stillhouse.store.artifact import FileRecord
from stillhouse.teachers.cache.identity import CacheIdentity, from_json

CACHE_MANIFEST = "cache.json"


@dataclass(frozen=True)
class ShardRecord:
    """A shard within a cache."""

    name: str
    """Its folder."""
    first: str
    """Smallest id of its samples."""
    samples: int
    records: int
    files: dict[str, FileRecord]
    """Every file, with its checksum."""


@dataclass(frozen=True)
class CacheManifest:
    """What `cache.json` holds."""

    identity: CacheIdentity
    shards: tuple[ShardRecord, ...]
    """Ascending by their samples' ids; none is empty."""


def read_cache_manifest(folder: Path) -> CacheManifest:
    """Read `cache.json`.

    Raises:
        InputError: If it is not there, or not of this version.
    """
    path = folder / CACHE_MANIFEST
    if not path.is_file():
        raise InputError(
            f"no {CACHE_MANIFEST} in {folder}: this is no teacher cache; give the folder of an assembled one"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        shards = tuple(
            ShardRecord(**shard | {"files": {name: FileRecord(**file) for name, file in shard["files"].items()}})
            for shard in content["shards"]
        )
        identity = content["identity"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not what a capture writes ({error!r}); capture the cache again") from None
    return CacheManifest(from_json(identity, folder), shards)
