"""From what a teacher says to what a chunked loss takes.

Apart from `targets`, so that a changed loss does not make the shards of a capture anew.
"""

from torch import Tensor

from stillhouse.losses.chunked.divergences import Divergence
from stillhouse.losses.chunked.targets import (
    DenseTarget,
    FactoredLogits,
    MixedLogits,
    SampledTarget,
    Target,
    TopKTarget,
)
from stillhouse.teachers.targets import Dense, Distribution, Draws, Factored, Mixture, TopK


def loss_target(distribution: Distribution, divergence: Divergence) -> Target:
    """The target of `chunked_loss`.

    Args:
        distribution: What the teacher said.
        divergence: From it, where the whole distribution is known; of stored tokens there is one loss each.
    """
    match distribution:
        case Dense(logits):
            return DenseTarget(logits, divergence)
        case Factored():
            return DenseTarget(_logits(distribution), divergence)
        case Mixture(parts, log_shares):
            return DenseTarget(MixedLogits(tuple(map(_logits, parts)), log_shares), divergence)
        case TopK(ids, log_probabilities):
            return TopKTarget(ids, log_probabilities)
        case Draws(ids, counts):
            return SampledTarget(ids, counts)


def _logits(distribution: Dense | Factored) -> Tensor | FactoredLogits:
    match distribution:
        case Dense(logits):
            return logits
        case Factored(hidden, head):
            return FactoredLogits(hidden, head)
