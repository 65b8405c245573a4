"""Teacher and student side by side, and text on its way through the blocks of both."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse.models.block_passes import Pass, advance, passes_before_blocks
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.pruning import transformer_layers
from stillhouse.models.standing import Standing, read_standing
from stillhouse.recipe.compute import Compute
from stillhouse.store.artifact import Inputs
from stillhouse.training.batches import Batch


@dataclass(frozen=True)
class Models:
    """Whose layers are replaced, and by which they learn."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    """The teacher itself where nothing was cut."""
    standing: Standing
    """Where the student's blocks and channels stood in the teacher."""
    tokenizer: PreTrainedTokenizerFast

    @property
    def teacher_blocks(self) -> nn.ModuleList:
        """As many as the teacher has."""
        return transformer_layers(self.teacher)

    @property
    def student_blocks(self) -> nn.ModuleList:
        """As many as were left."""
        return transformer_layers(self.student)


def open_models(inputs: Inputs, device: str) -> Models:
    """Open `teacher` in fp32, and beside it `start`, what it was cut to, where there is one."""
    teacher = load_model(inputs["teacher"], device=device, dtype="fp32").requires_grad_(False)
    tokenizer = load_tokenizer(inputs["teacher"])
    if "start" not in inputs:
        return Models(teacher, teacher, Standing(tuple(range(len(transformer_layers(teacher))))), tokenizer)
    student = load_model(inputs["start"], device=device, dtype="fp32").requires_grad_(False)
    return Models(teacher, student, read_standing(inputs["start"]), tokenizer)


@dataclass(frozen=True)
class Ways:
    """Text of one split, on its way through the blocks of both."""

    teacher: list[Pass]
    student: list[Pass]


class Texts:
    """Both splits, on both ways."""

    def __init__(self, train: Ways, validation: Ways):
        self.train, self.validation = train, validation
        self._reached = 0

    def reach(self, blocks: nn.ModuleList, place: int, compute: Compute) -> None:
        """Send the teacher's texts through the blocks before `place`: those of them that the student does not have."""
        for index in range(self._reached, place):
            for ways in (self.train, self.validation):
                advance(ways.teacher, blocks[index], index, compute)
        self._reached = place

    def advance(self, teacher: nn.Module, place: int, student: nn.Module, index: int, compute: Compute) -> None:
        """Send all texts through a block of each; where both are one, both ways still have the same states."""
        for ways in (self.train, self.validation):
            before = ways.teacher, ways.student
            one_way = student is teacher and all(one.states is other.states for one, other in zip(*before, strict=True))
            advance(ways.teacher, teacher, place, compute)
            if one_way:
                for one, other in zip(*before, strict=True):
                    other.states = one.states
            else:
                advance(ways.student, student, index, compute)
        self._reached = place + 1


def before_blocks(models: Models, batches: Sequence[Batch], compute: Compute) -> Ways:
    """Texts before the first block of teacher and student: each model reads them with its own embedding."""
    of_teacher = [passes_before_blocks(models.teacher, models.teacher_blocks, each, compute) for each in batches]
    if models.student is models.teacher:
        return Ways(of_teacher, [each.copy() for each in of_teacher])
    of_student = [passes_before_blocks(models.student, models.student_blocks, each, compute) for each in batches]
    return Ways(of_teacher, of_student)
