"""How much say each teacher of an ensemble has, text by text.

M teachers, S texts of a batch, n positions, V words.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.data.dataset import set_of
from stillhouse.errors import InputError
from stillhouse.teachers.samples import Sample


def fixed_shares(weights: Sequence[float], num_texts: int) -> Tensor:
    """Logarithms of the shares [M, S], the same for every text: each weight over the sum of all."""
    total = sum(weights)
    shares = torch.tensor([math.log(weight / total) for weight in weights])
    return shares[:, None].expand(-1, num_texts)


def shares_by_domain(weights: Sequence[float], served: Sequence[Sequence[str]], samples: Sequence[Sample]) -> Tensor:
    """Logarithms of the shares [M, S]: by weight among those that serve a text's data set, minus infinity for others.

    Args:
        weights: Of the teachers.
        served: For each teacher the names of the data sets that it teaches.
        samples: The texts, each called `set/number`.

    Raises:
        InputError: If no teacher serves a text's set.
    """
    shares = torch.full((len(weights), len(samples)), -math.inf)
    for place, sample in enumerate(samples):
        name = set_of(sample.name)
        serving = [number for number, sets in enumerate(served) if name in sets]
        if not serving:
            raise InputError(f"no teacher serves the data set {name}, of which {sample.name} is; name it in the recipe")
        total = sum(weights[number] for number in serving)
        for number in serving:
            shares[number, place] = math.log(weights[number] / total)
    return shares


def shares_by_confidence(weights: Sequence[float], unsureness: Tensor, sharpness: float) -> Tensor:
    """Logarithms of the shares [M, S]: `weight * exp(-sharpness * unsureness)`, over the sum of all teachers.

    Args:
        weights: Of the teachers.
        unsureness: [M, S] nats per counted token of each text.
        sharpness: How much a nat counts.
    """
    logs = torch.tensor([math.log(weight) for weight in weights], device=unsureness.device)
    return F.log_softmax(logs[:, None] - sharpness * unsureness.float(), dim=0)


def unsureness_of(logits: Tensor, labels: Tensor, measure: Literal["entropy", "cross_entropy"]) -> Tensor:
    """Nats [n] that a teacher is unsure by at each position.

    Args:
        logits: [n, V].
        labels: [n] the tokens of the text.
        measure: `entropy` or `cross_entropy`.
    """
    log_p = F.log_softmax(logits.float(), dim=-1)
    if measure == "cross_entropy":
        return -log_p.gather(-1, labels[:, None])[:, 0]
    # A cache of full targets may hold minus infinity, whose probability is 0.
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(torch.float32).min)).sum(dim=-1)
