"""What a recipe costs, before it runs: arithmetic on shapes, and the speed that a short probe measured."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stillhouse import machine
from stillhouse.models.shape import ModelShape
from stillhouse.recipe import Recipe

_TRAINING_SHARE = 0.35
"""Of the probe's speed on one big matrix, what a whole training step reaches: attention, norms, softmax over the
vocabulary and the optimizer are not matrix products. Set from the demo's own wall time (README)."""
_OTHER_SECONDS = 20.0
"""Start-up, export and packaging of any run."""


@dataclass(frozen=True)
class Estimate:
    """Rough costs; disk and memory err on the side of too much."""

    teacher_parameters: int
    student_parameters: int
    seconds: float
    memory_bytes: int
    memory_there_bytes: int
    disk_bytes: int
    disk_free_bytes: int


def estimate(
    recipe: Recipe, teacher: ModelShape, layers_kept: int | None, gigaflops_per_second: float, store: Path
) -> Estimate:
    """Estimate time, memory and disk of a run.

    Args:
        recipe: What is asked.
        teacher: Shape of the teacher.
        layers_kept: Of a depth-pruned student; `None` takes a student as large as the teacher.
        gigaflops_per_second: What the probe measured in the precision of the run.
        store: Where the run writes.
    """
    embedding = teacher.vocabulary_size * teacher.hidden_size
    share = 1.0 if layers_kept is None else layers_kept / teacher.layers
    student = int(embedding + (teacher.parameters - embedding) * share)
    data = recipe.data
    rows = recipe.distillation.batch_rows * data.sequence_length
    logits_bytes = rows * teacher.vocabulary_size * 4
    # Student, its gradient and two moments in fp32; the teacher beside it; half a dozen copies of the logits.
    memory_bytes = 16 * student + 4 * teacher.parameters + 6 * logits_bytes
    # Teacher; start, student, ONNX and its 4-bit form; two checkpoints of three fp32 copies while training;
    # logits of the parity tokens.
    scratch_bytes = max(24 * student, recipe.evaluation.parity_tokens * teacher.vocabulary_size * 4)
    disk_bytes = 4 * teacher.parameters + 14 * student + scratch_bytes
    return Estimate(
        teacher_parameters=teacher.parameters,
        student_parameters=student,
        seconds=_seconds(recipe, teacher, student, gigaflops_per_second),
        memory_bytes=memory_bytes,
        memory_there_bytes=machine.memory_bytes(),
        disk_bytes=disk_bytes,
        disk_free_bytes=shutil.disk_usage(_existing(store)).free,
    )


def _seconds(recipe: Recipe, teacher: ModelShape, student: int, gigaflops_per_second: float) -> float:
    """2 FLOP a weight and token forward, 6 forward and backward (Kaplan et al., 2020)."""
    data = recipe.data
    training = data.train_tokens * (2 * teacher.parameters + 6 * student)
    validation = data.validation_tokens * 2 * student * 6
    ranking = 0
    if recipe.student.kind == "depth":
        ranking = recipe.student.ranking_tokens * teacher.layers * 2 * teacher.parameters
    scored = len(recipe.evaluation.benchmarks) * recipe.evaluation.documents * 200
    evaluation = scored * 2 * (teacher.parameters + 2 * student) + data.held_out_tokens * 12 * teacher.parameters
    flops = training + validation + ranking + evaluation
    return _OTHER_SECONDS + flops / (gigaflops_per_second * 1e9 * _TRAINING_SHARE)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
