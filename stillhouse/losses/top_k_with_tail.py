"""Forward KL to a teacher of whom the K likeliest tokens are stored."""

import torch
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted, mean_over_counted
from stillhouse.losses.shapes import check_ids, check_labels, check_stored, check_temperature

_MOST_MASS = 1.01
"""Log-probabilities that were stored in bf16 or fp16 may add up to a little more than 1."""


def top_k_with_tail(
    student_logits: Tensor,
    teacher_ids: Tensor,
    teacher_log_probabilities: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
) -> Tensor:
    """KL(teacher || student) over K + 1 outcomes, K tokens and "any other", times the temperature squared.

    Without the last outcome the best student would give the K tokens everything and be overconfident. With it the
    student learns how much is left, and spreads that as it likes: a lower bound of the whole KL, whose gradient is
    zero where student and teacher agree, and biased elsewhere (`sampled` is not).

    Args:
        student_logits: [B, T, V], any floating dtype; gradients flow here.
        teacher_ids: [B, T, K] distinct tokens. Where fewer are known, further places hold any id and -inf.
        teacher_log_probabilities: [B, T, K] of these tokens within the whole vocabulary, not within the K, taken
            **at this `temperature`**: they cannot be tempered afterwards, for the rest of the vocabulary is not
            known.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.
        temperature: At which the teacher was stored; softens the student.

    Returns:
        Nats per counted token: a scalar, at least fp32; 0 where nothing is counted.

    Raises:
        ValueError: If shapes do not fit, an id is not in the vocabulary, a counted position has no target, or the
            values cannot be log-probabilities.
    """
    check_labels(student_logits, labels)
    check_stored(teacher_ids, teacher_log_probabilities, labels)
    check_temperature(temperature)
    mask = counted(labels)
    logits = at_least_fp32(student_logits[mask]) / temperature
    ids, known, tail = buckets(teacher_ids[mask], teacher_log_probabilities[mask].to(logits.dtype), logits.shape[-1])
    whole = logits.logsumexp(dim=-1)
    log_known = logits.gather(-1, ids) - whole[:, None]
    # Finite, so that a tail of no tokens and no probability is 0 and not 0 times infinity.
    others = logits.scatter(-1, ids, torch.finfo(logits.dtype).min)
    log_tail = others.logsumexp(dim=-1) - whole
    cross_entropy = -(known * log_known).sum(dim=-1) - tail * log_tail
    entropy = -torch.xlogy(known, known).sum(dim=-1) - torch.xlogy(tail, tail)
    return temperature**2 * mean_over_counted(cross_entropy - entropy)


def buckets(ids: Tensor, log_probabilities: Tensor, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """The stored distribution over K + 1 outcomes.

    Args:
        ids: [N, K].
        log_probabilities: [N, K], at least fp32.
        vocabulary: V; with all of its tokens stored there is no tail.

    Returns:
        Ids [N, K], their probabilities [N, K], and the rest [N]; together exactly 1, whatever was lost in storage.

    Raises:
        ValueError: As `top_k_with_tail`.
    """
    known = log_probabilities.exp()
    mass = known.sum(dim=-1)
    # `not <=` catches NaN too.
    if mass.numel() and not (mass.min() > 0 and mass.max() <= _MOST_MASS):
        raise ValueError(
            "the stored probabilities of a counted position must add up to more than 0 and at most 1, got "
            f"{float(mass.min()):.4g} to {float(mass.max()):.4g}; store log-probabilities within the whole vocabulary"
        )
    # An unused place repeats the first token, which takes nothing more out of the tail.
    ids = ids.long().where(known > 0, ids[:, :1].long())
    check_ids(ids, vocabulary)
    tail = torch.zeros_like(mass) if ids.shape[-1] == vocabulary else (1 - mass).clamp(min=0)
    return ids, known / (mass + tail)[:, None], tail / (mass + tail)
