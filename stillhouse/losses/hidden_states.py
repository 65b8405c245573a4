"""Distance between a student's projected hidden states and its teacher's: two forms, one mask."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, mean_over_counted

_SMALLEST_SCALE = 1e-6
"""A state of zeros, which has no scale, is compared as if its root mean square were this."""


def hidden_mean_squared_error(
    projected: Tensor, teacher: Tensor, counted: Tensor, weights: Tensor | None = None
) -> Tensor:
    """`sum_i m_i |projected_i - teacher_i|^2 / (sum_i m_i * D)`: a mean over counted positions and features.

    Of FitNets (Romero et al., 2015, "Hints for thin deep nets") and most feature distillation since. Not in nats, and
    not without a unit: twice as large states have four times the loss (`in_teachers_scale` takes the unit out).

    Args:
        projected: [..., D] the student's, brought to the teacher's width, any floating dtype; gradients flow here.
        teacher: [..., D].
        counted: [...] boolean. Where it is False anything may stand, NaN too, and no gradient arrives.
        weights: [...] what each position's loss is multiplied by; the sum is still divided by the counted positions.

    Returns:
        A scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit.
    """
    student, target = _counted_pairs(projected, teacher, counted)
    return _weighed((student - target).square().mean(dim=-1), counted, weights)


def hidden_l1_and_cosine(projected: Tensor, teacher: Tensor, counted: Tensor, weights: Tensor | None = None) -> Tensor:
    """`|a - y|_1 / D - log sigmoid(cos(a, y))`, mean over counted positions; a projected, y the teacher's.

    Of Lillama (Sy et al., 2024, "Large language models compression via low-rank feature distillation"): the first
    term is not ruled by a few large features, the second looks at the direction alone. Of equal states it is not 0
    but `log(1 + 1/e)`, 0.3133, which no pair of states goes below.

    Args:
        projected: [..., D] the student's, brought to the teacher's width, any floating dtype; gradients flow here.
        teacher: [..., D].
        counted: [...] boolean. Where it is False anything may stand, NaN too, and no gradient arrives.
        weights: [...] what each position's loss is multiplied by; the sum is still divided by the counted positions.

    Returns:
        A scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit.
    """
    student, target = _counted_pairs(projected, teacher, counted)
    distance = (student - target).abs().mean(dim=-1)
    return _weighed(distance - F.logsigmoid(F.cosine_similarity(student, target, dim=-1)), counted, weights)


def in_teachers_scale(projected: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both divided by the root mean square of the teacher's state at the same position: no unit is left.

    In Llama-like models the state of a text's first token is tens of times as long as any other ("massive
    activations", Sun et al., 2024). In layers 12 to 21 of SmolLM2-135M 0.4% of the tokens hold 98% of the energy, so
    a plain mean of squares would look at hardly anything else. In this scale the mean squared error is the share of
    each token's energy that is missed, and layers can be added up.

    Args:
        projected: [N, D] at counted positions only: a NaN elsewhere would reach the gradient.
        teacher: [N, D]; taken as fixed.

    Returns:
        Two tensors [N, D], at least fp32.
    """
    target = at_least_fp32(teacher.detach())
    scale = target.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=_SMALLEST_SCALE)
    return at_least_fp32(projected) / scale, target / scale


def _weighed(values: Tensor, counted: Tensor, weights: Tensor | None) -> Tensor:
    return mean_over_counted(values if weights is None else values * weights[counted])


def _counted_pairs(projected: Tensor, teacher: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the N counted positions, [N, D]; the selection keeps what is not counted out of the gradient."""
    if projected.shape != teacher.shape or projected.shape[:-1] != counted.shape:
        raise ValueError(
            f"projected and teacher's hidden states must have one shape, and the mask the same without its last axis, "
            f"got {tuple(projected.shape)}, {tuple(teacher.shape)} and {tuple(counted.shape)}; project the student's "
            "states to the teacher's width first"
        )
    return at_least_fp32(projected[counted]), at_least_fp32(teacher[counted])
