"""Feature distillation: the student's hidden states, through low-rank projections, against the teacher's.

B rows, T positions, N counted positions of all B * T; student and teacher have widths S and D, and hidden states are
numbered as transformers numbers them: 0 is the embedding, i the output of block i, and the last is taken after the
final norm. Both sides are read in that way, so the last layers are compared after both norms.

A trainer takes these steps:

1. `layer_map` with both depths, then open the teacher with `layers=teacher_layers_of(that map)`;
2. `fit_feature_matcher` on a few training batches, or `FeatureMatcher` and `load_state_dict` from a checkpoint;
3. the matcher's parameters into the optimizer, its `state_dict` into the checkpoint;
4. each forward pass: `logit_loss + balanced(matcher(student states, targets.hidden_states, counted), logit_loss, ...)`.

Where several processes train, each fits on the same batches before the student is wrapped, and the matcher lies within
what is wrapped, so that its gradients are averaged as the student's are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.losses.hidden_states import hidden_l1_and_cosine, hidden_mean_squared_error, in_teachers_scale
from stillhouse.losses.reduction import IGNORED, at_least_fp32
from stillhouse.models.low_rank_linear import LowRankLinear, for_sums, weighted_map
from stillhouse.recipe.features import LowRankFeatures
from stillhouse.teachers.teacher import Teacher
from stillhouse.training.batches import Batch

_FIT_TOKENS_A_FEATURE = 16
"""Least squares miss about 1/15 more on other text than they could."""
_SMALLEST_LOSS = 1e-7
"""A loss below it counts as this where another is divided by it."""


class FeatureMatcher(nn.Module):
    """A low-rank projection for each student layer that has a partner in the teacher, and the loss between the two.

    Its parameters learn beside the student's. They are no part of the student, so nothing of them is ever saved in
    its folder: what ships has the student's own architecture.
    """

    student_layers: tuple[int, ...]
    """Whose hidden states `forward` wants of the student, rising."""
    teacher_layers: tuple[int, ...]
    """Whose hidden states it wants of the teacher, rising, each once."""

    def __init__(self, settings: LowRankFeatures, layers: Mapping[int, int], *, student_width: int, teacher_width: int):
        """Projections that are zero until they are fitted or loaded.

        Args:
            settings: Rank and loss.
            layers: Student layer to teacher layer, as `layer_map` gives it.
            student_width: S.
            teacher_width: D.

        Raises:
            InputError: If the rank is larger than one of the widths.
        """
        super().__init__()
        check_sizes(settings, student_width=student_width, teacher_width=teacher_width)
        self.layers = {student: layers[student] for student in sorted(layers)}
        self.student_layers = tuple(self.layers)
        self.teacher_layers = teacher_layers_of(layers)
        self.loss = settings.loss
        # A module's key is a string.
        self.projections = nn.ModuleDict(
            {str(layer): LowRankLinear(student_width, teacher_width, settings.rank) for layer in self.layers}
        )

    def forward(
        self,
        student_hidden: Mapping[int, Tensor],
        teacher_hidden: Mapping[int, Tensor],
        counted: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The mean loss of all pairs of layers, itself a mean over the counted positions.

        Args:
            student_hidden: [B, T, S] by layer; gradients flow here.
            teacher_hidden: [B, T, D] by layer, as `Targets.hidden_states`; taken as fixed.
            counted: [B, T] boolean: the positions whose label counts. What stands elsewhere is never looked at.
            weights: [B, T] what each position counts, as in the loss of the logits: their sum is not divided by.

        Returns:
            A scalar, at least fp32, without a unit; 0 where nothing is counted.
        """
        # Whoever calls may be within autocast, which would make the products in bf16.
        with torch.autocast(counted.device.type, enabled=False):
            weighed = None if weights is None else weights[counted]
            losses = [
                self._loss_of_pair(layer, student_hidden[layer][counted], teacher_hidden[partner][counted], weighed)
                for layer, partner in self.layers.items()
            ]
        return torch.stack(losses).mean()

    def _loss_of_pair(self, layer: int, states: Tensor, answers: Tensor, weights: Tensor | None) -> Tensor:
        """Of [N, S] and [N, D]: selected before anything is computed, for elsewhere may be NaN, and NaN times 0 is."""
        projected = self.projections[str(layer)](at_least_fp32(states))
        student, teacher = in_teachers_scale(projected, answers)
        every = torch.ones(len(student), dtype=torch.bool, device=student.device)
        match self.loss:
            case "mean_squared_error":
                return hidden_mean_squared_error(student, teacher, every, weights)
            case "l1_and_cosine":
                return hidden_l1_and_cosine(student, teacher, every, weights)


def layer_map(settings: LowRankFeatures, *, student_blocks: int, teacher_blocks: int) -> dict[int, int]:
    """Student layer to teacher layer, chosen or as the recipe gives it.

    Chosen, it is `round(i * teacher_blocks / student_blocks)` for each block i of the student, from 1; halves go up,
    and no block is paired with the teacher's embedding. The two embeddings are compared only if the recipe says so.

    Args:
        settings: The section.
        student_blocks: Blocks of the student.
        teacher_blocks: Blocks of the teacher.

    Raises:
        InputError: If the recipe names a layer that does not exist.
    """
    if settings.layers == "auto":
        return {
            layer: max(1, (2 * layer * teacher_blocks + student_blocks) // (2 * student_blocks))
            for layer in range(1, student_blocks + 1)
        }
    for role, named, blocks in (
        ("student", settings.layers.keys(), student_blocks),
        ("teacher", settings.layers.values(), teacher_blocks),
    ):
        unknown = sorted(layer for layer in named if layer > blocks)
        if unknown:
            raise InputError(
                f"distillation.features.layers names layer {unknown[0]} of the {role}, which has 0 (its embedding) to "
                f"{blocks} (its last block, after the final norm): map student layers to teacher layers, or say auto"
            )
    return dict(sorted(settings.layers.items()))


def check_sizes(settings: LowRankFeatures, *, student_width: int, teacher_width: int) -> None:
    """Refuse projections through more dimensions than a side has, and those that are fitted to too few tokens.

    Raises:
        InputError: If so.
    """
    if settings.rank > min(student_width, teacher_width):
        raise InputError(
            f"distillation.features.rank is {settings.rank}, but hidden states have {student_width} features in the "
            f"student and {teacher_width} in the teacher: a projection has at most the smaller rank of the two"
        )
    if settings.fit_tokens is not None and settings.fit_tokens < student_width:
        raise InputError(
            f"distillation.features.fit_tokens is {settings.fit_tokens}, which cannot tell how {student_width} "
            f"features of the student relate to the teacher's: give {student_width} or more, or leave it out"
        )


def teacher_layers_of(layers: Mapping[int, int]) -> tuple[int, ...]:
    """The layers whose hidden states a teacher must be opened with: rising, each once."""
    return tuple(sorted(set(layers.values())))


def student_hidden_states(model: PreTrainedModel, batch: Batch, layers: Iterable[int]) -> dict[int, Tensor]:
    """[B, T, S] by layer, of a forward pass without the head.

    A trainer that runs the student anyway asks that pass for `output_hidden_states` and picks from it instead.
    """
    body: Any = model.base_model
    said = body(**batch.inputs_of(model), use_cache=False, output_hidden_states=True)
    return {layer: said.hidden_states[layer] for layer in layers}


@torch.no_grad()
def fit_feature_matcher(
    settings: LowRankFeatures,
    layers: Mapping[int, int],
    student: PreTrainedModel,
    teacher: Teacher,
    batches: Iterable[Batch],
) -> FeatureMatcher:
    """Projections that begin as the best map of their rank from student to teacher, found by SVD.

    With x the student's and y the teacher's state of the same token, both in the scale of y (`in_teachers_scale`), two
    sums are kept, `x x^T` and `y x^T`, in fp64, so that tokens may be as many as time allows. They give the least-
    squares map from x to y. What is decomposed is that map times the root of `x x^T`, which weighs directions by how
    much of the teacher they explain on real text; cut off after the rank it is the best map of that rank there is
    (`stillhouse.models.low_rank_linear.WeightedMap`). A random start would first have to learn that, while it sends
    the student gradients that mean nothing.

    There is no constant: where states have a mean other than 0 it takes up one of the dimensions.

    Args:
        settings: Rank, loss and how many tokens to fit on.
        layers: As `layer_map` gives them.
        student: On the batches' device, in eval mode.
        teacher: Opened with `teacher_layers_of(layers)`.
        batches: Training batches; no more are read than are needed.

    Raises:
        InputError: If the teacher gives no hidden states, there are fewer counted tokens than the student's states
            have features, or the rank is too large.
    """
    moments: dict[int, _Moments] = {}
    num_tokens, wanted = 0, settings.fit_tokens or _FIT_TOKENS_A_FEATURE * _width(student)
    for batch in batches:
        states, answers = student_hidden_states(student, batch, layers), teacher.targets(batch).hidden_states
        counted = batch.labels != IGNORED
        for layer, partner in layers.items():
            if partner not in answers:
                raise InputError(
                    f"this teacher gives hidden states of the layers {sorted(answers) or 'none'}, and "
                    f"distillation.features asks for layer {partner}: take a teacher that runs here or a cache that "
                    "holds them, or leave distillation.features out"
                )
            found = moments.setdefault(layer, _Moments(states[layer], answers[partner]))
            found.add(states[layer][counted], answers[partner][counted])
        num_tokens += int(counted.sum())
        progress.step("fits features", min(num_tokens, wanted), wanted)
        if num_tokens >= wanted:
            break
    if num_tokens < _width(student):
        raise InputError(
            f"{num_tokens} counted tokens cannot tell how {_width(student)} features of the student relate to the "
            "teacher's: raise distillation.features.fit_tokens, or give more training text"
        )
    first = next(iter(moments.values()))
    matcher = FeatureMatcher(settings, layers, student_width=first.student_width, teacher_width=first.teacher_width)
    for layer, found in moments.items():
        projection = matcher.projections[str(layer)]
        assert isinstance(projection, LowRankLinear)
        projection.set_factors(weighted_map(found.cross, found.second).factors(settings.rank))
    return matcher.to(first.device)


def balanced(feature_loss: Tensor, logit_loss: Tensor, settings: LowRankFeatures) -> Tensor:
    """What the features add to the loss of the logits: a scalar through which gradients flow to `feature_loss` alone.

    `logit_loss` scales as Megatron and ModelOpt do, `feature_loss * stop_gradient(logit_loss / feature_loss)`: the
    value is then the logit loss times the weight, and only the gradient tells of the features. The better they fit, the
    more each remaining error is multiplied, so a fixed weight is the quieter choice for a student that nearly matches.

    Args:
        feature_loss: Of a `FeatureMatcher`.
        logit_loss: Of the same forward pass.
        settings: Balance and weight.
    """
    match settings.balance:
        case "fixed":
            return settings.weight * feature_loss
        case "logit_loss":
            scale = logit_loss.detach() / feature_loss.detach().clamp(min=_SMALLEST_LOSS)
            return settings.weight * scale * feature_loss


class _Moments:
    """Sums over tokens of `x x^T` and `y x^T`, x the student's and y the teacher's states in the scale of y."""

    def __init__(self, student: Tensor, teacher: Tensor):
        self.device = student.device
        self.student_width, self.teacher_width = student.shape[-1], teacher.shape[-1]
        device = for_sums(student.device)
        self.second = torch.zeros(self.student_width, self.student_width, dtype=torch.float64, device=device)
        self.cross = torch.zeros(self.teacher_width, self.student_width, dtype=torch.float64, device=device)

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """[N, S] and [N, D] at counted positions."""
        x, y = (values.to(self.second) for values in in_teachers_scale(student, teacher))
        self.second += x.T @ x
        self.cross += y.T @ x


def _width(model: PreTrainedModel) -> int:
    """Features of a hidden state."""
    return int(model.config.get_text_config(decoder=True).hidden_size)
