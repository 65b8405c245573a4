"""The one reduction of all losses: a sum over counted tokens, divided once by their number."""

import torch
from torch import Tensor

IGNORED = -100


def counted(labels: Tensor) -> Tensor:
    """Where a label is counted: [B, T], boolean."""
    return labels != IGNORED


def at_least_fp32(values: Tensor) -> Tensor:
    """The values in fp32, or as they are where they are wider."""
    return values if values.dtype == torch.float64 else values.float()


def widest(device: torch.device) -> torch.dtype:
    """Of what a device can add up: fp64, and fp32 on Apple's, which has no fp64."""
    return torch.float32 if device.type == "mps" else torch.float64


def mean_over_counted(values: Tensor) -> Tensor:
    """Mean of the values of the counted tokens, [n]; 0 and differentiable where there is none."""
    return values.sum() / max(values.numel(), 1)
