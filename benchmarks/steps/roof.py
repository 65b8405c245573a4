"""The matrix products of a distillation step and nothing else: what no trainer on this machine can beat."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.gauge import Gauge
from stillhouse.models.load import load_model


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of all products of a step in bf16, with the teacher online and with cached targets.

    Args:
        case: `device`, `threads`, `rows`, `length`, and the folders `teacher` and `start`.
    """
    torch.set_num_threads(case["threads"])
    tokens = case["rows"] * case["length"]
    read, trained = (_shapes(Path(case[name])) for name in ("teacher", "start"))
    seconds = {shape: _seconds(case["device"], tokens, *shape) for shape in read | trained}
    teacher = sum(count * seconds[shape][0] for shape, count in read.items())
    student = sum(count * sum(seconds[shape]) for shape, count in trained.items())
    # n x k times k x m takes 2nkm operations; a layer that is trained has three such products, one that is read one.
    reads, trains = (
        2 * tokens * sum(count * wide * high for (wide, high), count in each.items()) for each in (read, trained)
    )
    return {
        "online_seconds": teacher + student,
        "cached_seconds": student,
        "online_operations": reads + 3 * trains,
        "cached_operations": 3 * trains,
    }


def _shapes(folder: Path) -> Counter[tuple[int, int]]:
    """How many linear layers have which numbers of features, in and out."""
    model = load_model(folder, device="cpu", dtype="bf16")
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    return Counter((each.in_features, each.out_features) for each in layers)


def _seconds(device: str, tokens: int, features_in: int, features_out: int) -> tuple[float, float]:
    """Best of five, of the product forward, and of the two backward."""
    value, weight, slope = (
        torch.randn(*shape, device=device).bfloat16()
        for shape in ((tokens, features_in), (features_out, features_in), (tokens, features_out))
    )
    gauge = Gauge(device)
    forward, backward = [], []
    for _ in range(6):
        started = gauge.seconds()
        value @ weight.T
        middle = gauge.seconds()
        slope @ weight
        slope.T @ value
        forward.append(middle - started)
        backward.append(gauge.seconds() - middle)
    return min(forward[1:]), min(backward[1:])
