"""A teacher that has spoken already: what it said, found by the tokens of each sample."""

from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.recipe.knowledge import FullTargets, SampledTargets, StoredTargets, TopKTargets
from stillhouse.store.artifact import hash_file
from stillhouse.teachers.cache.identity import CacheIdentity, refuse_mismatch
from stillhouse.teachers.cache.index import ShardIndex, open_index
from stillhouse.teachers.cache.manifest import CacheManifest, ShardRecord, read_cache_manifest
from stillhouse.teachers.cache.records import HiddenReader, RecordReader, Records, record_reader
from stillhouse.teachers.samples import Sample, samples_of
from stillhouse.teachers.targets import Dense, Distribution, Draws, Targets, TopK
from stillhouse.training.batches import Batch

_KINDS: TypeAdapter[StoredTargets] = TypeAdapter(StoredTargets)


@dataclass(frozen=True)
class _Shard:
    """A shard whose files were found intact."""

    index: ShardIndex
    records: RecordReader
    hidden: HiddenReader | None


@dataclass(frozen=True)
class _Found:
    """Where a sample's targets go, and where they lie."""

    places: Tensor
    """[m] places of its counted positions in the flattened batch."""
    shard: _Shard
    number: int
    """Of the sample in the shard."""
    chosen: Records
    """[m] records within the sample."""


@dataclass(frozen=True)
class CachedTeacher:
    """An opened cache; make it with `open_cached`. Shards are verified when first needed, and read piece by piece."""

    folder: Path
    manifest: CacheManifest
    layers: tuple[int, ...]
    """Whose hidden states are wanted."""
    _open: dict[int, _Shard] = field(default_factory=dict, repr=False, compare=False)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.manifest.identity.vocabulary_size

    def targets(self, batch: Batch) -> Targets:
        """Look every sample of the batch up.

        Raises:
            InputError: If the cache lacks a sample or one of its targets, or if a shard is damaged.
        """
        found = [self._find(batch, sample) for sample in samples_of(batch) if sample.counted.any()]
        pieces = [each.shard.records.read(each.number, each.chosen) for each in found]
        distribution = self._distribution(batch, found, pieces)
        hidden = {}
        if self.layers:
            stored = self.manifest.identity.hidden_layers
            states = [_hidden(each).read(each.number, each.chosen)[0] for each in found]
            for layer in self.layers:
                chosen = [each[:, stored.index(layer)] for each in states]
                hidden[layer] = _laid_out(batch, found, chosen, chosen[0].shape[-1] if chosen else 0)
        return Targets(distribution, hidden)

    def _distribution(self, batch: Batch, found: list[_Found], pieces: list[tuple[Tensor, ...]]) -> Distribution:
        columns = list(zip(*pieces, strict=True))
        match kind_of(self.manifest.identity):
            case FullTargets():
                (logits,) = columns or [()]
                return Dense(_laid_out(batch, found, logits, self.vocabulary_size))
            case TopKTargets():
                ids, values = columns or [(), ()]
                width = ids[0].shape[-1] if ids else 1
                return TopK(_laid_out(batch, found, ids, width), _laid_out(batch, found, values, width))
            case SampledTargets():
                ids, counts = columns or [(), ()]
                width = max((piece.shape[-1] for piece in ids), default=1)
                return Draws(_laid_out(batch, found, ids, width), _laid_out(batch, found, counts, width))

    def _find(self, batch: Batch, sample: Sample) -> _Found:
        name = sample.id
        place = bisect_right(self.manifest.shards, name.hex(), key=lambda shard: shard.first) - 1
        shard = self._shard(place) if place >= 0 else None
        number = shard.index.find(name) if shard is not None else None
        if shard is None or number is None:
            num_samples = sum(each.samples for each in self.manifest.shards)
            raise InputError(
                f"the teacher cache {self.folder.name[:12]} has no sample {name.hex()[:12]}, which the run has in the "
                f"document {sample.name}: its {num_samples} samples are of other data, or of documents cut or rendered "
                "in another way; capture the cache again from this run's data set"
            )
        stored = shard.index.positions_of(number)
        missing = int(np.count_nonzero(sample.counted & ~stored))
        if missing:
            raise InputError(
                f"the teacher cache {self.folder.name[:12]} has targets at {np.count_nonzero(stored)} positions of the "
                f"document {sample.name}, and the run counts {np.count_nonzero(sample.counted)}, {missing} of them "
                "others; it was captured with other targets (prompts are not stored): capture it again"
            )
        start = sample.row * batch.labels.shape[1] + sample.start
        places = torch.from_numpy(start + np.flatnonzero(sample.counted))
        return _Found(places, shard, number, (np.cumsum(stored) - 1)[sample.counted])

    def _shard(self, place: int) -> _Shard:
        if place not in self._open:
            record, identity = self.manifest.shards[place], self.manifest.identity
            folder = self.folder / record.name
            _refuse_damage(record, folder)
            index = open_index(folder)
            records = record_reader(kind_of(identity), folder, index, vocabulary=identity.vocabulary_size)
            hidden = HiddenReader(folder, index) if identity.hidden_layers else None
            self._open[place] = _Shard(index, records, hidden)
        return self._open[place]


def open_cached(folder: Path, needed: CacheIdentity) -> CachedTeacher:
    """Open a cache that is what the run needs.

    Args:
        folder: An assembled cache.
        needed: What the run distils, as `identity_of` says it.

    Raises:
        InputError: If it is none, or of another teacher, text form or kind; the message names the field.
    """
    manifest = read_cache_manifest(folder)
    refuse_mismatch(manifest.identity, needed, folder)
    return CachedTeacher(folder, manifest, needed.hidden_layers)


def kind_of(identity: CacheIdentity) -> StoredTargets:
    """The kind of targets that a cache holds."""
    return _KINDS.validate_python(identity.targets)


def _refuse_damage(record: ShardRecord, folder: Path) -> None:
    """Read a shard once, to see that its bytes are those that were written."""
    progress.step(f"verifies {record.name}")
    for name, file in record.files.items():
        path = folder / name
        has = hash_file(path) if path.is_file() else None
        if has != file.sha256:
            seen = f"its sha256 is {has[:12]}" if has else "it is missing"
            raise InputError(
                f"the teacher cache {folder.parent.name[:12]} is damaged: of {record.name}/{name} its manifest says "
                f"sha256 {file.sha256[:12]}, and {seen}; delete the cache and capture again, which makes only what is "
                "broken"
            )


def _hidden(found: _Found) -> HiddenReader:
    assert found.shard.hidden is not None
    return found.shard.hidden


def _laid_out(batch: Batch, found: list[_Found], pieces: "tuple[Tensor, ...] | list[Tensor]", width: int) -> Tensor:
    """[B, T, width] on the batch's device, zeros where nothing was looked up."""
    num_rows, length = batch.labels.shape
    dtype = pieces[0].dtype if pieces else torch.float32
    flat = torch.zeros(num_rows * length, width, dtype=dtype)
    for each, piece in zip(found, pieces, strict=True):
        flat[each.places, : piece.shape[-1]] = piece
    return flat.view(num_rows, length, width).to(batch.labels.device)
