"""A data set of conversations with repeats, how a loader lays it out, and how a capture of it is ordered."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stillhouse.data.dataset import Split, read_split, write_split
from stillhouse.data.packing import pack
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.knowledge import Cached
from stillhouse.store.artifact import Reference
from stillhouse.store.store import Store
from stillhouse.teachers.cache.assemble import assemble_cache, shard_input
from stillhouse.teachers.cache.capture import capture_shard
from stillhouse.teachers.cache.identity import identity_of
from stillhouse.teachers.cache.listing import list_samples
from stillhouse.teachers.cache.plan import plan_capture
from stillhouse.teachers.cached import CachedTeacher, open_cached
from stillhouse.training.batches import make_batch

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
LENGTH = 48


@dataclass(frozen=True)
class Capture:
    """A finished capture, and the store that it lies in."""

    store: Store
    reference: Reference
    shards: tuple[Reference, ...]
    cached: Cached
    temperature: float
    hidden_layers: tuple[int, ...]

    @property
    def folder(self) -> Path:
        return self.store.folder(self.reference)

    def open(self, teacher: Path) -> CachedTeacher:
        needed = identity_of(teacher, COMPUTE.precision, self.cached, self.temperature, self.hidden_layers)
        return open_cached(self.folder, needed)


def the_folder(settings, inputs, folder: Path) -> None:
    """A stage that takes a folder from outside into the store, as the stages before a capture would make it."""
    for path in sorted(settings.path.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(settings.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


class Folder:
    def __init__(self, path: Path):
        self.path = path

    def model_dump(self, *, mode: str):
        return {"path": str(self.path)}


def random_split(order: list[int] | None = None, documents: int = 14) -> Split:
    """Documents of 4 to 40 tokens; the first half of every third one is a prompt, and the last repeats the first."""
    generator = np.random.default_rng(3)
    pieces = []
    for number in range(documents):
        ids = generator.integers(5, 250, size=int(generator.integers(4, 41))).astype(np.int32)
        counted = np.ones(len(ids), dtype=bool)
        counted[: len(ids) // 2 if number % 3 == 0 else 1] = False
        pieces.append((ids, counted, f"toy/{number}"))
    pieces.append((*pieces[0][:2], f"toy/{documents}"))
    chosen = [pieces[number] for number in (order or range(len(pieces)))]
    lengths = [len(ids) for ids, _, _ in chosen]
    return Split(
        ids=np.concatenate([ids for ids, _, _ in chosen]),
        counted=np.concatenate([counted for _, counted, _ in chosen]),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        num_bytes=np.ones(len(chosen), dtype=np.int64),
        names=tuple(name for _, _, name in chosen),
    )


def write_dataset(folder: Path, split: Split) -> Path:
    for name in ("train", "validation", "held_out"):
        write_split(folder, name, split)
    return folder


def batches_of(split: Split, batch_rows: int = 3, seed: int | None = None) -> list:
    """The batches of a loader; with a seed, rows and the documents within them come in another order."""
    rows = pack(split.starts, LENGTH)
    if seed is not None:
        generator = np.random.default_rng(seed)
        rows = [generator.permutation(row).tolist() for row in generator.permutation(np.array(rows, dtype=object))]
    return [
        make_batch(split, rows[start : start + batch_rows], sequence_length=LENGTH, pad_id=0)
        for start in range(0, len(rows), batch_rows)
    ]


def capture_into(
    store: Store,
    teacher: Path,
    dataset: Path,
    cached: Cached,
    temperature: float = 1.0,
    hidden_layers: tuple[int, ...] = (),
) -> Capture:
    """The order of work of a capture."""
    torch.set_num_threads(1)
    plan = plan_capture(
        cached,
        compute=COMPUTE,
        temperature=temperature,
        sequence_length=LENGTH,
        train_tokens=read_split(dataset, "train").num_tokens,
        hidden_layers=hidden_layers,
    )
    model = store.make(the_folder, Folder(teacher), {})
    data = store.make(the_folder, Folder(dataset), {})
    listing = store.make(list_samples, plan.listing, {"dataset": data})
    read = {"teacher": model, "dataset": data, "listing": listing}
    shards = tuple(store.make(capture_shard, shard, read) for shard in plan.shards)
    named = {shard_input(number): shard for number, shard in enumerate(shards)}
    whole = store.make(assemble_cache, plan.assemble, {"teacher": model, **named})
    return Capture(store, whole, shards, cached, temperature, hidden_layers)
