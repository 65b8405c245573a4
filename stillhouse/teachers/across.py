"""A teacher with another tokenizer: it reads the same texts in its own tokens, beside the student."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stillhouse.data.dataset import Split, read_split
from stillhouse.data.encode_again import Pairs, read_pairs
from stillhouse.recipe.compute import Compute
from stillhouse.teachers.local import LocalTeacher, open_local
from stillhouse.teachers.targets import Aligned, Dense, Factored, Targets
from stillhouse.training.batches import Batch, make_batch


@dataclass(frozen=True)
class AcrossTeacher:
    """A loaded model, and the training texts as it reads them."""

    local: LocalTeacher
    read: Split
    """The training texts in the student's tokens."""
    own: Split
    """The same texts in the teacher's, piece for piece."""
    pairs: Pairs
    """Which tokens of the two begin at the same character."""

    @property
    def vocabulary_size(self) -> int:
        """V of the teacher's own tokenizer."""
        return self.local.vocabulary_size

    def targets(self, batch: Batch) -> Targets:
        """What it says where both have read the same, of a batch of training texts."""
        lengths = np.diff(self.own.starts)
        longest = max((int(lengths[list(row)].sum()) for row in batch.documents), default=0)
        device = batch.input_ids.device
        own = make_batch(self.own, batch.documents, sequence_length=max(longest, 1), pad_id=0, device=device)
        said = self.local.targets(own).distribution
        assert isinstance(said, Dense | Factored)
        rows, positions, others = (torch.from_numpy(each).to(device) for each in self._places(batch))
        # A mean over those that have a partner, in which a batch weighs as its targets do in the rest of the loss.
        scale = self.read.num_targets / len(self.pairs)
        return Targets(Aligned(said, rows, positions, others, scale))

    def _places(self, batch: Batch) -> tuple[npt.NDArray[np.int64], ...]:
        """For each pair of the batch: its row, and the positions that predict it in student and teacher."""
        found = []
        for row, documents in enumerate(batch.documents):
            ends = np.zeros(2, dtype=np.int64)
            for document in documents:
                firsts = np.array([self.read.starts[document], self.own.starts[document]])
                lasts = np.array([self.read.starts[document + 1], self.own.starts[document + 1]])
                first, last = np.searchsorted(self.pairs[:, 0], (firsts[0], lasts[0]))
                # The position before a token predicts it.
                places = self.pairs[first:last] - firsts + ends - 1
                found.append(np.column_stack([np.full(len(places), row), places]))
                ends += lasts - firsts
        joined = np.concatenate(found) if found else np.zeros((0, 3), dtype=np.int64)
        return tuple(np.ascontiguousarray(column) for column in joined.T)


def open_across(teacher: Path, dataset: Path, own: Path, compute: Compute) -> AcrossTeacher:
    """Load a teacher beside a student with another tokenizer.

    Args:
        teacher: A model folder.
        dataset: In the student's tokens.
        own: In the teacher's, as `encode_for_teacher` wrote it.
        compute: Device and precision.

    Raises:
        InputError: If the folder cannot be opened.
    """
    read, again = read_split(dataset, "train"), read_split(own, "train")
    return AcrossTeacher(open_local(teacher, compute), read, again, read_pairs(own, "train"))
