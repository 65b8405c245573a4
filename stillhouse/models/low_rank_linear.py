"""Linear maps as products of two thin matrices, and the best ones for given activations.

I input features, O output features, R the rank, N tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_UNSEEN = 1e-12
"""Directions with less than this share of the largest variance are rounding, and are not inverted."""


class LowRankLinear(nn.Module):
    """`up @ (down @ x) + bias`; zero until it is given its factors."""

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: Tensor | None = None):
        super().__init__()
        self.down = nn.Parameter(torch.zeros(rank, in_features))
        """[R, I]"""
        self.up = nn.Parameter(torch.zeros(out_features, rank))
        """[O, R]"""
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        bias = self.bias
        assert bias is None or isinstance(bias, Tensor)
        return F.linear(F.linear(inputs, self.down), self.up, bias)

    def product(self) -> Tensor:
        """The one matrix that the two factors stand for, [O, I], multiplied in fp64."""
        return (self.up.detach().double() @ self.down.detach().double()).to(self.up.dtype)

    @torch.no_grad()
    def set_factors(self, factors: tuple[Tensor, Tensor]) -> None:
        """Copy `up` and `down` in, in any floating dtype."""
        self.up.copy_(factors[0])
        self.down.copy_(factors[1])


@dataclass(frozen=True)
class WeightedMap:
    """A linear map in the directions that matter to its output, most first.

    The singular value decomposition of `M S^(1/2)`, where M is the map, [O, I], and S the second moment of its
    inputs, [I, I]. The error of an approximation A on such inputs is `|(M - A) S^(1/2)|^2`, so cutting this
    decomposition off after R values gives the best map of rank R (Eckart and Young, 1936; of a fitted M this is
    reduced-rank regression). Cutting off M itself would give the best one for inputs whose features are equally large
    and know nothing of each other, which hidden states are far from.
    """

    left: Tensor
    """[O, K] orthonormal columns."""
    values: Tensor
    """[K] singular values, falling; the sum of squares of those cut off is the error that it adds."""
    right: Tensor
    """[K, I] rows of the right side times `S^(-1/2)`: `left @ diag(values) @ right` is M."""

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best map of a rank, as `up` [O, R] and `down` [R, I] of equal size: column by row, equal norms.

        Factors of unequal size would learn at unequal speeds under one learning rate.
        """
        outward = self.left[:, :rank] * self.values[:rank]
        inward, rest = torch.linalg.qr(self.right[:rank].T)
        left, values, right = torch.linalg.svd(outward @ rest.T, full_matrices=False)
        root = values.sqrt()
        # Inputs that span fewer directions than the rank leave some factors with nothing to do.
        missing = rank - len(root)
        return F.pad(left * root, (0, missing)), F.pad(root[:, None] * (right @ inward.T), (0, 0, 0, missing))


def weighted_map(cross_moment: Tensor, second_moment: Tensor) -> WeightedMap:
    """Decompose the least-squares map `M = cross_moment @ inverse(second_moment)`.

    Args:
        cross_moment: [O, I], the sum of `y x^T` over tokens; of a known matrix W it is `W S`.
        second_moment: S, [I, I], the sum of `x x^T`. Directions that no input has are left out of the map.
    """
    variances, directions = torch.linalg.eigh(second_moment.double())
    seen = variances > _UNSEEN * variances[-1].clamp(min=torch.finfo(torch.float64).tiny)
    variances, directions = variances[seen], directions[:, seen]
    whitened = (cross_moment.double() @ directions) / variances.sqrt()
    left, values, right = torch.linalg.svd(whitened, full_matrices=False)
    return WeightedMap(left, values, (right / variances.sqrt()) @ directions.T)


def map_of_outputs(weight: Tensor, output_moment: Tensor) -> WeightedMap:
    """The same decomposition of a known matrix W, from the second moment of its outputs, `W S W^T`.

    Its eigenvectors are the left side, so the best map of rank R is W, projected to the R main directions of its own
    outputs. Cheaper than `weighted_map` where W has fewer rows than columns.

    Args:
        weight: W, [O, I].
        output_moment: [O, O], the sum of `(W x) (W x)^T`.
    """
    energies, left = torch.linalg.eigh(output_moment.double())
    left = left.flip(1)
    values = energies.flip(0).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    return WeightedMap(left, values, (left.T @ weight.double()) / values[:, None])


def for_sums(device: torch.device) -> torch.device:
    """Where fp64 sums are kept: on the device itself, unless it has no fp64."""
    return torch.device("cpu") if device.type == "mps" else device
