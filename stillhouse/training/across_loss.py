"""The loss with a teacher that has another tokenizer, beside that with the text."""

import torch

from stillhouse import losses
from stillhouse.losses.chunked import ChunkedLoss
from stillhouse.teachers.targets import Aligned, Dense, Factored
from stillhouse.training.coefficients import Coefficients


def with_distance(
    text: ChunkedLoss,
    student: Dense | Factored,
    aligned: Aligned,
    num_counted: int,
    coefficients: Coefficients,
) -> ChunkedLoss:
    """Mix the universal logit distance into a loss that is the text's alone.

    It is a mean over the positions that have a partner, taken over all of the training text: a batch counts by its
    targets, as in the rest of the loss, so that micro-batches and processes add up to the step whatever each has of
    them.

    Args:
        text: Cross-entropy.
        student: What it said, over its own words.
        aligned: What the teacher said.
        num_counted: Targets of the batch.
        coefficients: Of this step.
    """
    own = student.at(aligned.rows, aligned.positions)
    with torch.no_grad():
        teacher = aligned.said.at(aligned.rows, aligned.others)
    every = torch.zeros(1, len(aligned.rows), dtype=torch.long, device=own.device)
    distance = losses.universal_logit_distance(
        own[None], teacher[None], every, every, temperature=coefficients.temperature
    )
    distance = distance * (aligned.scale * len(aligned.rows) / max(num_counted, 1))
    alpha = coefficients.alpha
    return ChunkedLoss((1 - alpha) * text.loss + alpha * distance, text.cross_entropy, distance.detach())
