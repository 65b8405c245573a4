"""A teacher that is the student itself, averaged over its steps."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stillhouse.recipe.compute import Compute
from stillhouse.teachers.local import LocalTeacher, open_local
from stillhouse.teachers.targets import Targets
from stillhouse.training.batches import Batch


@dataclass(frozen=True)
class MovingAverageTeacher:
    """Weights that follow the student's: `average = decay * average + (1 - decay) * student`.

    Tarvainen and Valpola, 2017, arXiv:1703.01780. They are kept in fp32, where a step's small change is not rounded
    away, and read in the precision of the training.
    """

    local: LocalTeacher
    """The average, as a teacher that is only read."""
    decay: float
    """Share of the average that stays at every step."""
    compute: Compute
    """Where and in which precision it is read."""

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.local.vocabulary_size

    @property
    def weights(self) -> nn.Module:
        """What a checkpoint must hold."""
        return self.local.model

    def targets(self, batch: Batch) -> Targets:
        """What the average says of the batch."""
        device = torch.device(self.compute.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.compute.precision == "bf16"):
            return self.local.targets(batch)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Move towards the student; once an optimizer step, after it."""
        for average, own in zip(self.local.model.parameters(), student.parameters(), strict=True):
            average.lerp_(own.detach(), 1 - self.decay)


def open_moving_average(start: Path, compute: Compute, decay: float) -> MovingAverageTeacher:
    """Begin an average at the student's start.

    Args:
        start: The student's model folder.
        compute: Where and in which precision it is read.
        decay: Share of the average that stays at every step.
    """
    local = open_local(start, compute.model_copy(update={"precision": "fp32"}))
    return MovingAverageTeacher(local, decay, compute)
