"""The one way to ask a teacher, wherever it is."""

from typing import Protocol

from stillhouse.teachers.targets import Targets
from stillhouse.training.batches import Batch


class Teacher(Protocol):
    """A local model, a cache of what one said, several of either, or a server."""

    @property
    def vocabulary_size(self) -> int:
        """V of all targets: the tokenizer's true vocabulary, to which a student's padded head is cut."""
        ...

    def targets(self, batch: Batch) -> Targets:
        """What the teacher says at the batch's counted positions, on the batch's device, without gradients."""
        ...
