"""Stage: bind the shards of a capture into one cache, whose manifest says what it is a cache of."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillhouse.recipe.compute import Precision
from stillhouse.recipe.knowledge import Cached
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs, hash_files
from stillhouse.store.links import content_files, link_file
from stillhouse.teachers.cache.capture import loaded_teacher
from stillhouse.teachers.cache.identity import as_json, identity_of
from stillhouse.teachers.cache.manifest import CACHE_MANIFEST, ShardRecord

_SHARD_INPUT = re.compile(r"shard_\d{5}")


class AssembleSettings(Settings):
    """As the shards were captured."""

    cached: Cached
    """Kind of targets."""
    temperature: float
    """Of the training loss."""
    precision: Precision
    """That the teacher computed in."""
    hidden_layers: tuple[int, ...] = ()
    """Whose hidden states are kept."""


def shard_input(number: int) -> str:
    """The name under which `assemble_cache` is given a shard."""
    return f"shard_{number:05d}"


def assemble_cache(settings: AssembleSettings, inputs: Inputs, folder: Path) -> None:
    """Link the shards' files into one folder, and write `cache.json` and the bytes a token that they come to.

    Inputs are `teacher`, and every shard under the name that `shard_input` gives.
    """
    # The last shard is made: the memory is wanted for training.
    loaded_teacher.cache_clear()
    shards, tokens = [], 0
    for name in sorted(filter(_SHARD_INPUT.fullmatch, inputs)):
        facts = json.loads((inputs[name] / FACTS).read_text(encoding="utf-8"))
        if facts["samples"]:
            shards.append(_link(inputs[name], folder, name, facts))
            tokens += facts["tokens"]
    identity = identity_of(
        inputs["teacher"], settings.precision, settings.cached, settings.temperature, settings.hidden_layers
    )
    content = {"identity": as_json(identity), "shards": [asdict(shard) for shard in shards]}
    (folder / CACHE_MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    records = sum(shard.records for shard in shards)
    size = sum(file.size_bytes for shard in shards for file in shard.files.values())
    facts = {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "tokens": tokens,
        "records": records,
        "bytes": size,
        "bytes_per_record": size / max(records, 1),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _link(shard: Path, folder: Path, name: str, facts: dict[str, Any]) -> ShardRecord:
    for path in content_files(shard):
        link_file(path, folder / name / path.name)
    return ShardRecord(name, facts["first"], facts["samples"], facts["records"], hash_files(folder / name))
