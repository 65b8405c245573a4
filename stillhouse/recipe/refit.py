"""The `refit` section: blocks that are left of a teacher, fitted to what it says before any training."""

from collections.abc import Sequence

from pydantic import PositiveFloat, PositiveInt

from stillhouse.recipe.data import Data
from stillhouse.recipe.pruned import DepthPruned
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import Student

_FEWEST_ROWS = 8
"""With less text a layer is fitted to these few words."""


class Refit(Settings):
    """Fit what is left of a teacher that lost layers, by least squares and without a gradient.

    Of every block from the first gap on it is the last linear layer, fitted to what the teacher's block says for which
    it stands.
    """

    tokens: PositiveInt = 16_384
    """Training tokens that it is fitted to; more fit better."""
    penalty: PositiveFloat = 0.3
    """What a change of a weight costs, over the mean square of the layer's inputs: the smaller, the nearer to the
    teacher on these tokens, and the further from it on others. Of 0.1, 0.3 and 1 this was best for SmolLM2-135M."""


def check_refit(refit: Refit, students: Sequence[Student], data: Data) -> None:
    """Refuse students of which no block stands for blocks of the teacher, as wide as these, and too little text.

    Args:
        refit: The section.
        students: The recipe's own, and those on the way to it.
        data: The section.

    Raises:
        ValueError: Naming the kind, or the tokens.
    """
    for each in students:
        if not isinstance(each, DepthPruned):
            raise ValueError(
                f"refit fits blocks to the teacher's where layers are missing, and student.kind is {each.kind}; leave "
                "refit out, or take a student of kind depth"
            )
    tokens, fewest = min(refit.tokens, data.train_tokens), _FEWEST_ROWS * data.sequence_length
    if tokens < fewest:
        raise ValueError(
            f"refit has {tokens:,} training tokens (refit.tokens, data.train_tokens), and fits to {_FEWEST_ROWS} rows "
            f"of {data.sequence_length} at least: give it {fewest:,}"
        )
