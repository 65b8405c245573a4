"""The matrix products of a distillation step and nothing else: what no trainer on this machine can beat."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stillhouse.models.load import load_model


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of all products of a step in bf16, with the teacher online and with cached targets.

    Args:
        case: `threads`, `rows`, `length`, and the folders `teacher` and `start`.
    """
    torch.set_num_threads(case["threads"])
    tokens = case["rows"] * case["length"]
    read, trained = (_shapes(Path(case[name])) for name in ("teacher", "start"))
    seconds = {shape: _seconds(tokens, *shape) for shape in read | trained}
    teacher = sum(count * seconds[shape][0] for shape, count in read.items())
    student = sum(count * sum(seconds[shape]) for shape, count in trained.items())
    return {"online_seconds": teacher + student, "cached_seconds": student}


def _shapes(folder: Path) -> Counter[tuple[int, int]]:
    """How many linear layers have which numbers of features, in and out."""
    model = load_model(folder, device="cpu", dtype="bf16")
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    return Counter((each.in_features, each.out_features) for each in layers)


def _seconds(tokens: int, features_in: int, features_out: int) -> tuple[float, float]:
    """Best of five, of the product forward, and of the two backward."""
    value, weight, slope = (
        torch.randn(*shape).bfloat16()
        for shape in ((tokens, features_in), (features_out, features_in), (tokens, features_out))
    )
    forward, backward = [], []
    for _ in range(6):
        started = time.perf_counter()
        value @ weight.T
        middle = time.perf_counter()
        slope @ weight
        slope.T @ value
        forward.append(middle - started)
        backward.append(time.perf_counter() - middle)
    return min(forward[1:]), min(backward[1:])
