"""From what a teacher says to what a chunked loss takes.

Apart from `targets`, so that a changed loss does not make the shards of a capture anew.
"""

from stillhouse.losses.chunked.divergences import Divergence
from stillhouse.losses.chunked.targets import DenseTarget, FactoredLogits, SampledTarget, Target, TopKTarget
from stillhouse.teachers.targets import Dense, Distribution, Draws, Factored, TopK


def loss_target(distribution: Distribution, divergence: Divergence) -> Target:
    """The target of `chunked_loss`.

    Args:
        distribution: What the teacher said.
        divergence: From it, where the whole distribution is known; of stored tokens there is one loss each.
    """
    match distribution:
        case Dense(logits):
            return DenseTarget(logits, divergence)
        case Factored(hidden, head):
            return DenseTarget(FactoredLogits(hidden, head), divergence)
        case TopK(ids, log_probabilities):
            return TopKTarget(ids, log_probabilities)
        case Draws(ids, counts):
            return SampledTarget(ids, counts)
