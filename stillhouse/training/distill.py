"""The distillation stage: a student learns from the text and from what its teacher knows of it."""

from pathlib import Path

from stillhouse.store.artifact import Inputs
from stillhouse.training.launch import train_in_several
from stillhouse.training.loop import train
from stillhouse.training.rank import take_trained
from stillhouse.training.trainer import DistillSettings

__all__ = ["DistillSettings", "distill"]


def distill(settings: DistillSettings, inputs: Inputs, folder: Path) -> None:
    """Train the student, resuming from the last checkpoint in `folder/work`, or take up what torchrun left there.

    Inputs are `teacher`, `start` (the student's model folder), `dataset`, and what `open_teacher` reads. Writes the
    student's model folder and `history.json`. The same settings, inputs, processor and threads give the same bytes,
    killed in between or not.

    Raises:
        TrainingDiverged: If a loss or gradient is not finite.
        NoMemoryLeft: If memory runs out, on the processor's side or the accelerator's.
        ChildError: If one of several processes ends with either of these, or dies.
    """
    if take_trained(folder):
        return
    if settings.training.processes == 1:
        train(settings, inputs, folder)
    else:
        train_in_several(settings, inputs, folder)
