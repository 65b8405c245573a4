"""Where a student and its teacher find the same token likeliest.

Not a loss: it has no gradient. It is counted beside a loss, from the same logits, and no temperature changes it.
n positions, V words, K tokens stored.
"""

from torch import Tensor


def likeliest(known: Tensor, weights: Tensor | None = None) -> Tensor:
    """The teacher's likeliest token at each position, [n].

    Args:
        known: Its logits [n, V]; or, with `weights`, the ids [n, K] that are known of it.
        weights: [n, K] probability, log-probability or number of draws of each id. Of draws the likeliest is the one
            drawn most, which with few draws is not always the teacher's own first choice.
    """
    if weights is None:
        return known.argmax(dim=-1)
    return known.gather(-1, weights.argmax(dim=-1, keepdim=True))[..., 0]


def agreed(logits: Tensor, teacher_likeliest: Tensor) -> Tensor:
    """Whether the student's likeliest token [n] is the teacher's.

    Args:
        logits: The student's, [n, V].
        teacher_likeliest: [n] as `likeliest` gives it.
    """
    return logits.argmax(dim=-1) == teacher_likeliest
