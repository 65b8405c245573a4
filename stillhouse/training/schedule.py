"""The learning rate over training."""

import math

from stillhouse.recipe.distillation import Distillation


def learning_rate(settings: Distillation, step: int, num_steps: int) -> float:
    """Linear warm-up to the peak, then a cosine down to `final_learning_rate_share` of it.

    Args:
        settings: Peak, warm-up and final share.
        step: The optimizer step about to be made, counted from 0.
        num_steps: Steps in all. A warm-up longer than the training is cut to a third of it.
    """
    warmup = min(settings.warmup_steps, num_steps // 3)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(num_steps - warmup - 1, 1)
    floor = settings.final_learning_rate_share
    return settings.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
