"""Cross-entropy with tokens that were drawn from the teacher's distribution."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted, mean_over_counted
from stillhouse.losses.shapes import check_ids, check_labels, check_stored


def sampled(student_logits: Tensor, teacher_ids: Tensor, teacher_weights: Tensor, labels: Tensor) -> Tensor:
    """Minus the student's log-probability of the tokens drawn, weighted by how often each was.

    Random-sampling distillation (Anshumann et al., 2025, "Sparse logit sampling"): the shares of N independent
    draws are in expectation the teacher's distribution, so the expected gradient is exactly that of `forward_kl` at
    temperature 1, for a dozen numbers a token. The value estimates the cross-entropy of teacher and student without
    bias; the teacher's entropy, which would make it a divergence, cannot be had from few draws. There is no
    temperature: a share of counts cannot be softened afterwards.

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_ids: [B, T, K] tokens drawn. Where fewer were, further places hold any id and a weight of 0.
        teacher_weights: [B, T, K] how often each was drawn, or weights of any scale: a position's are divided by
            their sum.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.

    Returns:
        Nats per counted token: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit, an id is not in the vocabulary, or a counted position has no draws.
    """
    check_labels(student_logits, labels)
    check_stored(teacher_ids, teacher_weights, labels)
    mask = counted(labels)
    student = F.log_softmax(at_least_fp32(student_logits[mask]), dim=-1)
    weights = teacher_weights[mask].to(student.dtype)
    ids, shares = shares_of_draws(teacher_ids[mask], weights, student.shape[-1])
    return mean_over_counted(-(shares * student.gather(-1, ids)).sum(dim=-1))


def shares_of_draws(ids: Tensor, weights: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids and shares of the draws at N positions, [N, K] both; a position's shares add up to 1.

    Args:
        ids: [N, K].
        weights: [N, K], at least fp32.
        vocabulary: V.

    Raises:
        ValueError: As `sampled`.
    """
    total = weights.sum(dim=-1, keepdim=True)
    # `not >` catches NaN too.
    if total.numel() and not (total.min() > 0 and weights.min() >= 0):
        raise ValueError(
            "every counted position needs draws, with weights of 0 and more, got a position whose weights add up to "
            f"{float(total.min()):.4g} and weights down to {float(weights.min()):.4g}; the targets are of another text"
        )
    ids = ids.long().where(weights > 0, 0)
    check_ids(ids, vocabulary)
    return ids, weights / total
