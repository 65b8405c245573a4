"""Stage: the teacher reads the samples of one shard, and what it says of them becomes an artifact.

A shard is made of its samples, its settings and the teacher alone, in batches that are fixed: a capture that was killed
goes on at the shard it had not finished, and the same processor writes the same bytes.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeInt, PositiveInt

from stillhouse import progress
from stillhouse.data.dataset import Split
from stillhouse.data.packing import pack
from stillhouse.errors import InputError
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import Cached, SampledTargets
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs
from stillhouse.teachers.cache.draws import uniforms
from stillhouse.teachers.cache.index import ShardIndex, write_index
from stillhouse.teachers.cache.listing import ListedSample, ListSamplesSettings, read_samples
from stillhouse.teachers.cache.records import HiddenWriter, Records, RecordWriter, record_writer
from stillhouse.teachers.local import LocalTeacher, open_local
from stillhouse.teachers.samples import samples_of
from stillhouse.teachers.targets import Dense, Factored
from stillhouse.training.batches import Batch, make_batch
from stillhouse.training.packed_check import check_packed_rows

_ROWS = 128
"""Positions whose logits are made at a time: the whole head is read for each of these products."""


class CaptureSettings(Settings):
    """What one shard holds, and how it is computed."""

    cached: Cached
    """Kind of targets, and the batch."""
    temperature: float
    """Of the training loss."""
    sequence_length: PositiveInt
    """Tokens in a packed row."""
    compute: Compute
    """Where the teacher runs, in which precision; its seed decides nothing here."""
    listing: ListSamplesSettings = ListSamplesSettings()
    """What `list_samples` was told."""
    hidden_layers: tuple[int, ...] = ()
    """Whose hidden states are kept."""
    shard: NonNegativeInt
    """Number of this shard, from 0."""
    num_shards: PositiveInt
    """Shards that the samples are spread over."""


@dataclass(frozen=True)
class _Shard:
    """What is being written."""

    settings: CaptureSettings
    samples: list[ListedSample]
    index: ShardIndex
    records: RecordWriter
    hidden: HiddenWriter | None


def capture_shard(settings: CaptureSettings, inputs: Inputs, folder: Path) -> None:
    """Write the shard's index and records. Inputs are `teacher`, `dataset` and `listing`.

    A text's distributions depend on its own tokens alone, so texts are packed for speed. Targets alone are kept, and
    only for them are logits made.

    Raises:
        InputError: If the teacher cannot be opened.
    """
    torch.set_num_threads(settings.compute.threads)
    samples = read_samples(inputs["listing"], inputs["dataset"], settings.listing, settings.shard, settings.num_shards)
    index = write_index(folder, [each.id for each in samples], [each.positions for each in samples])
    teacher = loaded_teacher(inputs["teacher"], settings.compute, settings.hidden_layers)
    check_packed_rows(teacher.model, "the teacher", settings.sequence_length)
    kind, vocabulary = settings.cached.targets, teacher.vocabulary_size
    records = record_writer(kind, folder, index, vocabulary=vocabulary, temperature=settings.temperature)
    hidden = None
    if settings.hidden_layers:
        features = teacher.model.config.get_text_config(decoder=True).hidden_size
        hidden = HiddenWriter(folder, index.num_records, settings.hidden_layers, features)
    with freed_memory_kept():
        _capture(_Shard(settings, samples, index, records, hidden), teacher)
    records.finish()
    if hidden is not None:
        hidden.finish()
    facts = {
        "samples": len(samples),
        "tokens": sum(len(each.ids) for each in samples),
        "records": index.num_records,
        "vocabulary_size": vocabulary,
        "first": samples[0].id.hex() if samples else None,
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


@lru_cache(maxsize=1)
def loaded_teacher(folder: Path, compute: Compute, layers: tuple[int, ...]) -> LocalTeacher:
    """A teacher that stays loaded from one shard to the next; `loaded_teacher.cache_clear()` lets go of it.

    A folder of the store is named by its content, so the same name is the same teacher.
    """
    return open_local(folder, compute, layers)


def _capture(shard: _Shard, teacher: LocalTeacher) -> None:
    started, done = time.monotonic(), 0
    numbers = {each.id: number for number, each in enumerate(shard.samples)}
    note = f"captures shard {shard.settings.shard + 1} of {shard.settings.num_shards}"
    total = sum(len(each.ids) for each in shard.samples)
    for batch in _batches(shard):
        _keep(shard, teacher, batch, numbers)
        done += sum(len(each.ids) for each in samples_of(batch))
        progress.step(note, done, total, {"tokens/s": done / (time.monotonic() - started)})


def _batches(shard: _Shard) -> Iterator[Batch]:
    """Rows of whole samples, the same for the same samples."""
    settings, samples = shard.settings, shard.samples
    if not samples:
        return
    lengths = [len(each.ids) for each in samples]
    longest = max(lengths)
    if longest > settings.sequence_length:
        raise InputError(
            f"a sample has {longest} tokens and a row holds {settings.sequence_length}; capture with the "
            "sequence_length that the data set was encoded with"
        )
    split = Split(
        ids=np.concatenate([each.ids for each in samples]),
        # A position predicts the token after it.
        counted=np.concatenate([np.concatenate([[False], each.positions[:-1]]) for each in samples]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        num_bytes=np.zeros(len(samples), dtype=np.int64),
        names=tuple(each.name for each in samples),
    )
    rows, size = pack(split.starts, settings.sequence_length), settings.cached.batch_rows
    for start in range(0, len(rows), size):
        yield make_batch(
            split,
            rows[start : start + size],
            sequence_length=settings.sequence_length,
            pad_id=0,
            device=settings.compute.device,
        )


@torch.no_grad()
def _keep(shard: _Shard, teacher: LocalTeacher, batch: Batch, numbers: dict[bytes, int]) -> None:
    """Ask the teacher about a batch, and keep what it says at every target."""
    said = teacher.targets(batch)
    assert isinstance(said.distribution, Dense | Factored)
    records, points = _places(shard, batch, numbers)
    rows, positions = (batch.labels != IGNORED).nonzero(as_tuple=True)
    for start in range(0, len(records), _ROWS):
        part = slice(start, start + _ROWS)
        logits = said.distribution.at(rows[part], positions[part])
        shard.records.write(records[part], logits, None if points is None else points[part])
    if shard.hidden is not None:
        layers = [said.hidden_states[layer][rows, positions] for layer in shard.settings.hidden_layers]
        shard.hidden.write(records, torch.stack(layers, dim=1))


def _places(shard: _Shard, batch: Batch, numbers: dict[bytes, int]) -> tuple[Records, npt.NDArray[np.float64] | None]:
    """For each counted position of a batch, in its order: the number of its record, and what decides its draws."""
    kind = shard.settings.cached.targets
    records, points = [], []
    for sample in samples_of(batch):
        number = numbers[sample.id]
        first = int(shard.index.starts[number])
        records.append(first + np.arange(np.count_nonzero(sample.counted)))
        if isinstance(kind, SampledTargets):
            points.append(uniforms(kind.seed, sample.id, len(sample.ids), kind.draws)[sample.counted])
    return np.concatenate(records), np.concatenate(points) if points else None
