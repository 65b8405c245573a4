"""The projections of a training that compares hidden states: which layers they join, and what they begin as."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from stillhouse.recipe.features import LowRankFeatures
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.batches import Batch
from stillhouse.training.features import FeatureMatcher, fit_feature_matcher, layer_map, teacher_layers_of


@dataclass(frozen=True)
class FeaturePlan:
    """What is known of the projections before a model is loaded."""

    settings: LowRankFeatures
    layers: dict[int, int]
    """Student layer to teacher layer."""
    student_width: int
    teacher_width: int

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """What the teacher must be opened with."""
        return teacher_layers_of(self.layers)


def plan_features(settings: LowRankFeatures, start: Path, teacher: Path) -> FeaturePlan:
    """Read both models' shapes.

    Raises:
        InputError: If the recipe names a layer that does not exist.
    """
    own, other = _config(start), _config(teacher)
    layers = layer_map(settings, student_blocks=own.num_hidden_layers, teacher_blocks=other.num_hidden_layers)
    return FeaturePlan(settings, layers, own.hidden_size, other.hidden_size)


def open_matcher(
    plan: FeaturePlan, student: PreTrainedModel, teacher: Teacher, batches: Iterable[Batch], *, goes_on: bool
) -> FeatureMatcher:
    """Projections fitted on the first batches, the same for every process; to be loaded, where a training goes on."""
    if not goes_on:
        return fit_feature_matcher(plan.settings, plan.layers, student, teacher, batches)
    matcher = FeatureMatcher(
        plan.settings, plan.layers, student_width=plan.student_width, teacher_width=plan.teacher_width
    )
    return matcher.to(student.device)


def _config(folder: Path) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config(decoder=True)
    return config
