"""Cross-entropy with the text itself."""

import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.reduction import at_least_fp32, counted, mean_over_counted


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of the labels in nats per counted token.

    Args:
        logits: [B, T, V], any floating dtype; gradients flow here.
        labels: [B, T]; `labels[b, t]` is the token that `logits[b, t]` predicts, -100 where none is counted.

    Returns:
        A scalar, at least fp32; 0 where nothing is counted.
    """
    mask = counted(labels)
    return mean_over_counted(F.cross_entropy(at_least_fp32(logits[mask]), labels[mask], reduction="none"))
