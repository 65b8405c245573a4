"""Weights rounded to 16 or 256 levels a block, each error made good by the weights that are still to be rounded.

GPTQ (Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2023). What
matters is not how far a weight moves but how far the matrix's output does, so the error of one input row is spread
over the rows after it, as far as their inputs go together in real text.

It matters doubly for a student whose teacher was de-quantized from 4 bits: its weights lie within half a step of the
teacher's grid, and methods that look for the scale of least squared error (HQQ, k-quant) find that grid and round
the distillation away.

Shapes: K inputs of the matrix, N outputs, B blocks of inputs that share a scale.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Rows whose errors are spread at once; a multiple of every block size.
PANEL = 128
# Share of the mean moment that is added to each: text that calibrates never fills all directions.
DAMPING = 0.01


@dataclass(frozen=True)
class Grid:
    """The levels that the weights of a block may take."""

    bits: Literal[4, 8]
    """Of a code."""
    block_size: int
    """Inputs that share a scale."""
    symmetric: bool
    """Leave zero points out: the middle code is 0."""

    @property
    def levels(self) -> int:
        """How many codes there are."""
        return 1 << self.bits

    @property
    def middle(self) -> int:
        """Zero point of a symmetric grid."""
        return self.levels // 2


@dataclass(frozen=True)
class Rounded:
    """A matrix in few bits, K filled up to whole blocks."""

    grid: Grid
    num_inputs: int
    """K before it was filled up."""
    codes_KN: NDArray[np.uint8]
    """0 to 15, or 0 to 255."""
    scales_BN: Floats
    """Size of a step; negative where the largest weight of a block is positive."""
    zeros_BN: NDArray[np.uint8]
    """Code of the weight 0; the middle one everywhere in a symmetric grid."""

    def weights(self) -> Floats:
        """Return the weights that the codes stand for, `[K, N]`."""
        zeros, scales = (each.repeat(self.grid.block_size, axis=0) for each in (self.zeros_BN, self.scales_BN))
        return (self.codes_KN.astype(np.float32) - zeros) * scales


def round_matrix(weight_KN: Floats, grid: Grid, *, moments_KK: NDArray[np.float64] | None = None) -> Rounded:
    """Round a matrix, to the nearest level or with GPTQ.

    Args:
        weight_KN: The matrix, as in `x @ weight`.
        grid: The levels.
        moments_KK: Sum of `x.T @ x` over real inputs x; without it every weight goes to its nearest level.
    """
    filled = -len(weight_KN) % grid.block_size
    left = np.pad(weight_KN, ((0, filled), (0, 0))).astype(np.float32)
    spread = None if moments_KK is None else _spread(np.pad(moments_KK, (0, filled)))
    codes = np.empty(left.shape, dtype=np.uint8)
    scales, zeros = list[Floats](), list[Floats]()
    for start in range(0, len(left), PANEL):
        end = min(start + PANEL, len(left))
        errors = np.zeros_like(left[start:end])
        for row in range(start, end):
            if row % grid.block_size == 0:
                scale, zero = _steps(left[row : row + grid.block_size], grid)
                scales.append(scale)
                zeros.append(zero)
            code = np.clip(np.rint(left[row] / scale) + zero, 0, grid.levels - 1)
            codes[row] = code
            if spread is not None:
                error = (left[row] - (code - zero) * scale) / spread[row, row]
                left[row + 1 : end] -= spread[row, row + 1 : end, None] * error
                errors[row - start] = error
        if spread is not None:
            left[end:] -= spread[start:end, end:].T @ errors
    return Rounded(grid, len(weight_KN), codes, np.array(scales), np.array(zeros).astype(np.uint8))


def pack_codes(codes: NDArray[np.uint8], bits: Literal[4, 8]) -> NDArray[np.uint8]:
    """Put codes into bytes: of 4 bits two of the last axis, the first one low, an odd one out beside a 0."""
    if bits == 8:
        return np.ascontiguousarray(codes)
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    return (even[..., ::2] | (even[..., 1::2] << 4)).astype(np.uint8)


def _steps(block_KN: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """Return step and zero point of each output's block, such that its largest weight is a level."""
    high, low = block_KN.max(axis=0), block_KN.min(axis=0)
    if grid.symmetric:
        # Of 16 levels eight lie on the side of the largest weight, seven on the other.
        scale = np.where(high > -low, high, low) / -grid.middle
    else:
        high, low = np.maximum(high, 0), np.minimum(low, 0)
        scale = (high - low) / (grid.levels - 1)
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    if grid.symmetric:
        return scale, np.full_like(scale, grid.middle)
    return scale, np.clip(np.rint(-low / scale), 0, grid.levels - 1)


def _spread(moments_KK: NDArray[np.float64]) -> Floats:
    """Return the upper Cholesky factor of the inverse moments: row k says how k's error is spread."""
    damped = moments_KK + np.eye(len(moments_KK)) * (DAMPING * np.diag(moments_KK).mean() + 1e-9)
    return np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
