"""Everything that a training step reads and changes, put together."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import AdamW
from transformers import PreTrainedModel

from stillhouse.data.dataset import set_of
from stillhouse.losses.chunked import Chunking
from stillhouse.models.continuing import end_tokens
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.tokenizer import tokenizer_folder
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.curriculum import Curriculum
from stillhouse.recipe.distillation import Distillation
from stillhouse.recipe.knowledge import Knowledge, Online
from stillhouse.recipe.losses import UniversalLogitDistance
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.training_compute import TrainingCompute
from stillhouse.store.artifact import Inputs
from stillhouse.teachers.across import AcrossTeacher, open_across
from stillhouse.teachers.ensemble import EnsembleTeacher
from stillhouse.teachers.local import LocalTeacher
from stillhouse.teachers.moving_average import MovingAverageTeacher
from stillhouse.teachers.opening import open_teacher
from stillhouse.teachers.teacher import Teacher
from stillhouse.teachers.vocabulary import true_vocabulary_size
from stillhouse.training import adapters
from stillhouse.training.batches import Batch, rows_for_step
from stillhouse.training.coefficients import Course
from stillhouse.training.curriculum import arrange, rows_of_step
from stillhouse.training.feature_start import FeaturePlan, open_matcher, plan_features
from stillhouse.training.features import FeatureMatcher
from stillhouse.training.objective import Objective
from stillhouse.training.own_text import Writer
from stillhouse.training.packed_check import check_packed_rows
from stillhouse.training.ranks import Ranks, blocks_of, device_of_this_process
from stillhouse.training.saving_memory import checkpoint_activations
from stillhouse.training.text import PackedText, open_text


class DistillSettings(Settings):
    """The recipe's sections, and where it runs."""

    distillation: Distillation
    """How the student is trained."""
    knowledge: Knowledge = Online()
    """How the teacher is asked."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Device, precision, threads and seed."""
    training: TrainingCompute = TrainingCompute()
    """What the training is spread over, and what it saves."""
    curriculum: Curriculum | None = None
    """In which order the rows come, and which texts are left out."""


@dataclass
class Trainer:
    """What a training step reads and changes."""

    settings: DistillSettings
    ranks: Ranks
    teacher: Teacher | None
    """`None` where it has no share in the loss; then it is not even loaded."""
    student: PreTrainedModel
    objective: Objective
    """The student and its loss."""
    module: nn.Module
    """The objective as this many processes need it wrapped."""
    optimizer: AdamW
    text: PackedText
    """The training text."""
    sets: tuple[str, ...]
    """Names of the data sets that it is of."""
    validation: list[Batch]
    """The whole validation split, for every process the same."""
    num_steps: int
    course: Course
    writer: Writer | None
    """The student, where it writes text of its own to learn from."""
    history: dict[str, Any]
    """`training` and `validation` entries, and TAID's state; what of a training is in no tensor."""

    @property
    def average(self) -> nn.Module | None:
        """The student's average over its steps, where that is the teacher."""
        return self.teacher.weights if isinstance(self.teacher, MovingAverageTeacher) else None


def prepare(settings: DistillSettings, inputs: Inputs, ranks: Ranks, *, goes_on: bool = False) -> Trainer:
    """Load teacher and student, pack the text, and count the steps.

    Args:
        settings: Of the stage.
        inputs: Of the stage.
        ranks: This process among those that train.
        goes_on: Whether a checkpoint will be loaded, so that what it holds need not be found first.

    Raises:
        InputError: If something cannot be opened, or the teacher's stored knowledge does not fit the run.
    """
    distillation, device = settings.distillation, device_of_this_process(settings.compute.device)
    compute = settings.compute.model_copy(update={"device": device})
    tokenizer = load_tokenizer(tokenizer_folder(inputs))
    layout: dict[str, Any] = {"sequence_length": settings.sequence_length, "batch_rows": distillation.batch_rows}
    layout |= {"pad_id": tokenizer.pad_token_id, "device": device}
    text = open_text(inputs["dataset"], "train", **layout)
    if settings.curriculum is not None:
        text = replace(text, rows=arrange(settings.curriculum, text.split, inputs, settings.sequence_length))
    student = _student(settings, inputs["start"], device)
    features = distillation.features
    plan = None if features is None else plan_features(features, inputs["start"], inputs["teacher"])
    teacher = _teacher(settings, inputs, compute, () if plan is None else plan.teacher_layers)
    matcher = _matcher(plan, student, teacher, text, goes_on, settings.compute.seed)
    objective = _objective(settings, student, true_vocabulary_size(tokenizer), matcher)
    module = ranks.wrap(objective, settings.training.sharding)
    num_steps = distillation.steps or max(1, len(text.rows) // rows_a_step(settings))
    asked, vocabulary = distillation.on_policy, objective.vocabulary_size
    ends = end_tokens(student, tokenizer)
    return Trainer(
        settings=settings,
        ranks=ranks,
        teacher=teacher,
        student=student,
        objective=objective,
        module=module,
        # After the wrapping: sharded weights are other tensors.
        optimizer=_optimizer(objective, distillation),
        text=text,
        sets=tuple(sorted({set_of(name) for name in text.split.names})),
        validation=list(_whole(open_text(inputs["dataset"], "validation", **layout))),
        num_steps=num_steps,
        course=Course(distillation, num_steps),
        writer=None if asked is None else Writer(student, vocabulary, ends, asked, compute),
        history={"training": [], "validation": []},
    )


def rows_a_step(settings: DistillSettings) -> int:
    """Packed rows of one optimizer step, over all forward passes and processes."""
    asked = settings.distillation
    return asked.batch_rows * asked.accumulation * settings.training.processes


def documents_of_step(trainer: Trainer, step: int) -> list[list[list[int]]]:
    """The documents in each row of each of this process's forward passes of a step.

    Passes are dealt out in turn, so that more processes see the same rows.
    """
    text, settings = trainer.text, trainer.settings
    chosen = rows_of_step(
        settings.curriculum,
        len(text.rows),
        step,
        rows_per_step=rows_a_step(settings),
        num_steps=trainer.num_steps,
        seed=settings.compute.seed,
    )
    size, ranks = text.batch_rows, trainer.ranks
    dealt = [chosen[start : start + size] for start in range(0, len(chosen), size)][ranks.number :: ranks.count]
    return [[text.rows[index] for index in part] for part in dealt]


def batches_of_step(trainer: Trainer, step: int) -> list[Batch]:
    """This process's forward passes of a step over the text of the data."""
    return list(trainer.text.batches([row for part in documents_of_step(trainer, step) for row in part]))


def _whole(text: PackedText) -> Iterator[Batch]:
    return text.batches(text.rows)


def _student(settings: DistillSettings, folder: Path, device: str) -> PreTrainedModel:
    training = settings.training
    student = load_model(folder, device=device, dtype="fp32")
    check_packed_rows(student, "the student", settings.sequence_length)
    if training.lora is not None:
        adapters.add(student, training.lora, settings.compute.seed)
    if training.gradient_checkpointing:
        checkpoint_activations(student)
    return student


def _teacher(settings: DistillSettings, inputs: Inputs, compute: Compute, layers: tuple[int, ...]) -> Teacher | None:
    asked = settings.distillation
    if not asked.asks_teacher:
        return None
    if isinstance(asked.loss, UniversalLogitDistance):
        across = open_across(inputs["teacher"], inputs["dataset"], inputs["dataset_teacher"], compute)
        _check_reading(across, settings.sequence_length)
        return across
    # What is stored at a temperature is refused a moving one by the recipe; the others take any.
    temperature = asked.temperature if isinstance(asked.temperature, float) else 1.0
    teacher = open_teacher(settings.knowledge, inputs, compute, temperature=temperature, hidden_layers=layers)
    _check_reading(teacher, settings.sequence_length)
    if settings.training.compile is True and isinstance(teacher, LocalTeacher):
        _compile(teacher.model)
    return teacher


def _check_reading(teacher: Teacher, sequence_length: int) -> None:
    """Refuse models that cannot read packed rows; what is stored was read by one that could."""
    match teacher:
        case LocalTeacher(model=model):
            check_packed_rows(model, "the teacher", sequence_length)
        case AcrossTeacher(local=local):
            check_packed_rows(local.model, "the teacher", sequence_length)
        case EnsembleTeacher(members=members):
            for member in members:
                _check_reading(member, sequence_length)


def _matcher(
    plan: FeaturePlan | None,
    student: PreTrainedModel,
    teacher: Teacher | None,
    text: PackedText,
    goes_on: bool,
    seed: int,
) -> FeatureMatcher | None:
    if plan is None or teacher is None:
        return None
    # In the order of training, so that no part of the data is all that they are fitted on.
    order = rows_for_step(len(text.rows), 0, len(text.rows), seed)
    return open_matcher(plan, student, teacher, text.batches([text.rows[index] for index in order]), goes_on=goes_on)


def _objective(
    settings: DistillSettings, student: PreTrainedModel, vocabulary: int, matcher: FeatureMatcher | None
) -> Objective:
    training = settings.training
    # Preflight has decided what `auto` is.
    compiled = training.compile is True
    chunking = Chunking(rows=training.loss_rows, compiled=compiled)
    objective = Objective(student, settings.distillation, vocabulary, settings.compute.precision, chunking, matcher)
    if compiled:
        _compile(student)
    return objective


def _compile(model: PreTrainedModel) -> None:
    """Compile layer by layer: they are alike, so that one is compiled and serves all, in a third of the time.

    In place: a wrapper would rename every weight in the checkpoint.
    """
    for block in blocks_of(model):
        block.compile()


def _optimizer(objective: Objective, distillation: Distillation) -> AdamW:
    """AdamW that decays matrices and leaves norms and biases alone."""
    parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": distillation.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    # Without norms (an adapter has none) a group may be empty, which the optimizer refuses.
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=distillation.learning_rate, betas=(0.9, 0.95), fused=True)
