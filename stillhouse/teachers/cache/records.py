"""What a cache keeps of a teacher at a position, one class a kind: how it is written, and how it is read.

n records in a shard, V words, K tokens, N draws, D features. A writer gets logits of some records at a time, in any
order; a reader gives some of one sample's records. Numbers of 16 bits that NumPy does not know lie there as integers.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.recipe.knowledge import FullTargets, SampledTargets, StoredTargets, TopKTargets
from stillhouse.teachers.cache.draws import draw, pack_draws, unpack_draws
from stillhouse.teachers.cache.index import ShardIndex, open_array

Records = npt.NDArray[np.int64]
"""Numbers of records."""


class RecordWriter(Protocol):
    """Fills the files of one kind."""

    def write(self, records: Records, logits: Tensor, points: npt.NDArray[np.float64] | None) -> None:
        """Keep what is kept of logits [m, V]; `points` [m, N] decide the draws, where there are any."""
        ...

    def finish(self) -> None:
        """Bring everything to disk."""
        ...


class RecordReader(Protocol):
    """Reads the files of one kind."""

    def read(self, sample: int, chosen: Records) -> tuple[Tensor, ...]:
        """Some records of a sample, by their numbers within it: tensors whose first axis is these records."""
        ...


def record_writer(
    kind: StoredTargets, folder: Path, index: ShardIndex, *, vocabulary: int, temperature: float
) -> RecordWriter:
    """Make the files of a kind, empty."""
    match kind:
        case FullTargets():
            return FullWriter(kind, folder, (index.num_records, vocabulary))
        case TopKTargets():
            return TopKWriter(kind, folder, (index.num_records, vocabulary), temperature)
        case SampledTargets():
            return DrawsWriter(kind, folder, index, vocabulary)


def record_reader(kind: StoredTargets, folder: Path, index: ShardIndex, *, vocabulary: int) -> RecordReader:
    """Open the files of a kind."""
    match kind:
        case FullTargets():
            return FullReader(kind, folder, index)
        case TopKTargets():
            return TopKReader(folder, index)
        case SampledTargets():
            return DrawsReader(kind, folder, index, vocabulary)


class FullWriter:
    """Log-probabilities of the whole vocabulary, that is logits less their log-normaliser.

    A softmax does not see the difference, but 16 bits do: the likely tokens are now near 0, where they are exact.
    """

    def __init__(self, kind: FullTargets, folder: Path, shape: tuple[int, int]):
        self._bf16 = kind.dtype == "bf16"
        self._array = create_array(folder / "log_probabilities.npy", np.uint16 if self._bf16 else np.float16, shape)

    def write(self, records: Records, logits: Tensor, points: npt.NDArray[np.float64] | None) -> None:
        """As `RecordWriter`."""
        log_probabilities = F.log_softmax(logits.float(), dim=-1)
        if self._bf16:
            self._array[records] = bf16_bits(log_probabilities)
        else:
            # What fp16 cannot hold is nothing: e to the power of -65504.
            lowest = torch.finfo(torch.float16).min
            self._array[records] = log_probabilities.clamp_(min=lowest).half().cpu().numpy()

    def finish(self) -> None:
        """As `RecordWriter`."""
        flush(self._array)


class FullReader:
    """Gives log-probabilities [m, V] in the type they are kept in."""

    def __init__(self, kind: FullTargets, folder: Path, index: ShardIndex):
        self._bf16 = kind.dtype == "bf16"
        self._array = open_array(folder / "log_probabilities.npy")
        self._index = index

    def read(self, sample: int, chosen: Records) -> tuple[Tensor, ...]:
        """As `RecordReader`."""
        found = torch.from_numpy(self._array[self._index.starts[sample] + chosen])
        return (found.view(torch.bfloat16) if self._bf16 else found,)


class TopKWriter:
    """Ids of the likeliest K tokens, their log-probabilities in fp16, and in fp32 what all others have together."""

    def __init__(self, kind: TopKTargets, folder: Path, shape: tuple[int, int], temperature: float):
        num_records, vocabulary = shape
        self._k = min(kind.k, vocabulary)
        self._temperature = temperature
        id_type = np.uint16 if vocabulary <= 1 << 16 else np.uint32
        self._ids = create_array(folder / "tokens.npy", id_type, (num_records, self._k))
        self._values = create_array(folder / "log_probabilities.npy", np.float16, (num_records, self._k))
        self._tails = create_array(folder / "log_tails.npy", np.float32, (num_records,))

    def write(self, records: Records, logits: Tensor, points: npt.NDArray[np.float64] | None) -> None:
        """As `RecordWriter`."""
        log_probabilities = F.log_softmax(logits.float() / self._temperature, dim=-1)
        values, ids = log_probabilities.topk(self._k, dim=-1)
        # A sum over what is left: 1 minus the rest would be a rounding error where the teacher is sure.
        tails = log_probabilities.scatter(-1, ids, -torch.inf).logsumexp(dim=-1)
        self._ids[records] = ids.cpu().numpy()
        self._values[records] = values.clamp_(min=torch.finfo(torch.float16).min).half().cpu().numpy()
        self._tails[records] = tails.cpu().numpy()

    def finish(self) -> None:
        """As `RecordWriter`."""
        for array in (self._ids, self._values, self._tails):
            flush(array)


class TopKReader:
    """Gives ids [m, K] and log-probabilities [m, K] that leave exactly the stored tail."""

    def __init__(self, folder: Path, index: ShardIndex):
        self._ids = open_array(folder / "tokens.npy")
        self._values = open_array(folder / "log_probabilities.npy")
        self._tails = open_array(folder / "log_tails.npy")
        self._index = index

    def read(self, sample: int, chosen: Records) -> tuple[Tensor, ...]:
        """As `RecordReader`."""
        records = self._index.starts[sample] + chosen
        values = torch.from_numpy(self._values[records]).double()
        # fp16 moves each probability by up to 0.1 %, which would all be taken out of, or put into, a small tail.
        known = torch.log1p(-torch.from_numpy(self._tails[records]).double().exp())
        values += (known - values.logsumexp(dim=-1))[:, None]
        return torch.from_numpy(self._ids[records].astype(np.int64)), values.float()


class DrawsWriter:
    """Tokens drawn at temperature 1, a sample's in one piece of bytes."""

    def __init__(self, kind: SampledTargets, folder: Path, index: ShardIndex, vocabulary: int):
        self._folder, self._index, self._vocabulary = folder, index, vocabulary
        # Only packed are they small, and how small is known at the end: held until then, four bytes a draw.
        self._tokens = np.zeros((index.num_records, kind.draws), dtype=np.int32)

    def write(self, records: Records, logits: Tensor, points: npt.NDArray[np.float64] | None) -> None:
        """As `RecordWriter`."""
        assert points is not None
        self._tokens[records] = draw(logits, points)

    def finish(self) -> None:
        """As `RecordWriter`."""
        starts = self._index.starts
        pieces = [
            pack_draws(self._tokens[start:end].astype(np.int64), self._vocabulary)
            for start, end in zip(starts, starts[1:], strict=False)
        ]
        ends = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
        np.save(self._folder / "draws.npy", np.concatenate([np.zeros(0, dtype=np.uint8), *pieces]))
        np.save(self._folder / "draw_starts.npy", ends)


class DrawsReader:
    """Gives ids [m, K] and counts [m, K], K the most different tokens that these records have."""

    def __init__(self, kind: SampledTargets, folder: Path, index: ShardIndex, vocabulary: int):
        self._draws, self._vocabulary = kind.draws, vocabulary
        self._bytes = open_array(folder / "draws.npy")
        self._starts = open_array(folder / "draw_starts.npy")
        self._index = index

    def read(self, sample: int, chosen: Records) -> tuple[Tensor, ...]:
        """As `RecordReader`."""
        packed = np.asarray(self._bytes[self._starts[sample] : self._starts[sample + 1]])
        num_records = int(self._index.starts[sample + 1] - self._index.starts[sample])
        drawn = unpack_draws(packed, num_records, self._draws, self._vocabulary)
        record = np.repeat(np.arange(num_records), drawn.num_different)
        place = np.arange(len(record)) - np.repeat(
            np.cumsum(drawn.num_different) - drawn.num_different, drawn.num_different
        )
        shape = (num_records, int(drawn.num_different.max(initial=0)))
        ids, counts = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        ids[record, place], counts[record, place] = drawn.ids, drawn.counts
        return torch.from_numpy(ids[chosen]), torch.from_numpy(counts[chosen])


class HiddenWriter:
    """Hidden states in bf16, whose range holds the huge ones that some models have."""

    def __init__(self, folder: Path, num_records: int, layers: tuple[int, ...], features: int):
        self._array = create_array(folder / "hidden_states.npy", np.uint16, (num_records, len(layers), features))

    def write(self, records: Records, hidden: Tensor) -> None:
        """Keep hidden states [m, layers, D]."""
        self._array[records] = bf16_bits(hidden)

    def finish(self) -> None:
        """Bring everything to disk."""
        flush(self._array)


class HiddenReader:
    """Gives hidden states [m, layers, D] in bf16."""

    def __init__(self, folder: Path, index: ShardIndex):
        self._array = open_array(folder / "hidden_states.npy")
        self._index = index

    def read(self, sample: int, chosen: Records) -> tuple[Tensor, ...]:
        """As `RecordReader`."""
        return (torch.from_numpy(self._array[self._index.starts[sample] + chosen]).view(torch.bfloat16),)


def create_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """An array on disk that is filled piece by piece and never held in memory."""
    if 0 in shape:
        np.save(path, np.zeros(shape, dtype=dtype))
        return np.zeros(shape, dtype=dtype)
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def flush(array: npt.NDArray[Any]) -> None:
    """Bring an array on disk up to date."""
    if isinstance(array, np.memmap):
        array.flush()


def bf16_bits(values: Tensor) -> npt.NDArray[np.uint16]:
    """Values rounded to bf16, as the integers that have the same bits."""
    return values.to(torch.bfloat16).view(torch.uint16).cpu().numpy()
