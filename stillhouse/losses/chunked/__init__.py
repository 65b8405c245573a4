"""The training loss in chunks: from hidden states and head, without ever the whole of the logits."""

from stillhouse.losses.chunked.loss import ChunkedLoss, Chunking, chunked_loss
from stillhouse.losses.chunked.targets import (
    DenseTarget,
    FactoredLogits,
    MixedLogits,
    SampledTarget,
    Target,
    TopKTarget,
)

__all__ = [
    "ChunkedLoss",
    "Chunking",
    "DenseTarget",
    "FactoredLogits",
    "MixedLogits",
    "SampledTarget",
    "Target",
    "TopKTarget",
    "chunked_loss",
]
