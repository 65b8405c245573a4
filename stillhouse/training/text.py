"""A split laid out in rows, from which batches are made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.data.dataset import Split, read_split
from stillhouse.data.packing import pack
from stillhouse.data.splits import SplitName
from stillhouse.training.batches import Batch, make_batch


@dataclass(frozen=True)
class PackedText:
    """Texts of a split, several to a row."""

    split: Split
    rows: list[list[int]]
    """Numbers of the texts in each row."""
    sequence_length: int
    """Tokens in a row."""
    batch_rows: int
    """Rows in a batch."""
    pad_id: int
    device: str

    def batches(self, rows: Sequence[list[int]]) -> Iterator[Batch]:
        """Some of the rows, so many to a batch."""
        for start in range(0, len(rows), self.batch_rows):
            yield make_batch(
                self.split,
                rows[start : start + self.batch_rows],
                sequence_length=self.sequence_length,
                pad_id=self.pad_id,
                device=self.device,
            )


def open_text(
    dataset: Path, name: SplitName, *, sequence_length: int, batch_rows: int, pad_id: int, device: str
) -> PackedText:
    """Read and pack a split."""
    split = read_split(dataset, name)
    return PackedText(split, pack(split.starts, sequence_length), sequence_length, batch_rows, pad_id, device)
