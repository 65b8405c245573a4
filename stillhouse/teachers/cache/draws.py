"""Tokens drawn from a teacher: which ones, and how a dozen and a half of them fit in some 33 bytes.

n positions, V words, N draws at each position, of which U_i are different tokens at position i; E is the sum of U_i.

Seventeen bits of id and seven of count, as published, take 3 bytes for each different token: 50 bytes a position for a
teacher of 135M parameters, who is less sure than the large ones that they were counted for. Sorted ids need fewer bits
(Elias and Fano: the low bits of each as they are, the high bits as gaps in unary), and counts are where a new id begins
in the sorted draws: N - 1 bits, the first being known.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 64
"""Tokens that are summed before any is drawn: only the blocks that are hit are then looked into."""
_ROWS = 16
"""Positions at a time on a processor: few enough that their vocabularies stay in its cache."""


@dataclass(frozen=True)
class Drawn:
    """The draws at n positions."""

    num_different: npt.NDArray[np.int64]
    """[n] U_i."""
    ids: npt.NDArray[np.int64]
    """[E] different tokens, position after position, ascending."""
    counts: npt.NDArray[np.int64]
    """[E] how often each was drawn; N in all at each position."""


def uniforms(seed: int, sample: bytes, num_positions: int, draws: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) for every position of a sample: [num_positions, draws].

    A function of seed, sample and position and of nothing else: neither the batch nor the number of positions that
    are asked for. Of Philox' raw output, which NumPy promises never to change.
    """
    key = hashlib.sha256(b"%d:" % seed + sample).digest()[:16]
    raw = np.random.Philox(key=int.from_bytes(key)).random_raw(num_positions * draws)
    return (raw.reshape(num_positions, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(logits: Tensor, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Draw tokens independently from the softmax of logits.

    Args:
        logits: [n, V], any floating dtype and device.
        points: [n, N] uniform in [0, 1): the cumulative distribution is inverted there.

    Returns:
        [n, N] tokens, ascending in each row.
    """
    # Apple's processors have no fp64, which the sum over a vocabulary needs.
    logits = logits.cpu() if logits.device.type == "mps" else logits
    rows = _ROWS if logits.device.type == "cpu" else len(logits)
    drawn = [
        _draw(logits[start : start + rows].float(), points[start : start + rows])
        for start in range(0, len(logits), max(rows, 1))
    ]
    return np.concatenate([np.zeros((0, points.shape[1]), dtype=np.int64), *drawn])


def _draw(logits: Tensor, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    weights = (logits - logits.amax(dim=-1, keepdim=True)).exp_()
    num_rows, vocabulary = weights.shape
    blocks = F.pad(weights, (0, -vocabulary % _BLOCK)).view(num_rows, -1, _BLOCK)
    # A cumulative sum over the whole vocabulary would take longer than the softmax.
    ends = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    heights = torch.from_numpy(points).to(weights.device) * ends[:, -1:]
    hit = torch.searchsorted(ends, heights, right=True).clamp_(max=blocks.shape[1] - 1)
    below = torch.where(hit > 0, ends.gather(1, (hit - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, hit[:, :, None].expand(-1, -1, _BLOCK)).double().cumsum(dim=-1)
    offset = (inside <= (heights - below)[:, :, None]).sum(dim=-1).clamp_(max=_BLOCK - 1)
    tokens = (hit * _BLOCK + offset).clamp_(max=vocabulary - 1)
    return tokens.sort(dim=-1).values.cpu().numpy()


def pack_draws(tokens: npt.NDArray[np.int64], vocabulary: int) -> npt.NDArray[np.uint8]:
    """Put draws into bytes.

    Args:
        tokens: [n, N] ascending in each row.
        vocabulary: V.
    """
    begins = np.ones(tokens.shape, dtype=bool)
    begins[:, 1:] = tokens[:, 1:] != tokens[:, :-1]
    ids, num_different = tokens[begins], begins.sum(axis=1)
    layout = _Layout(num_different, vocabulary)
    low = np.zeros(layout.num_low_bits, dtype=bool)
    for bit in range(int(layout.widths.max(initial=0))):
        has = layout.widths > bit
        low[layout.low_starts[has] + bit] = (ids[has] >> bit) & 1
    high = np.zeros(layout.num_high_bits, dtype=bool)
    high[layout.high_starts + (ids >> layout.widths)] = True
    return np.concatenate([np.packbits(bits) for bits in (begins[:, 1:].ravel(), low, high)])


def unpack_draws(packed: npt.NDArray[np.uint8], num_positions: int, draws: int, vocabulary: int) -> Drawn:
    """Take draws out of bytes, as `pack_draws` put them in.

    Args:
        packed: The bytes.
        num_positions: n.
        draws: N.
        vocabulary: V.
    """
    num_begin_bits = num_positions * (draws - 1)
    begin_bytes = -(-num_begin_bits // 8)
    begins = np.ones((num_positions, draws), dtype=np.uint8)
    begins[:, 1:] = np.unpackbits(packed[:begin_bytes], count=num_begin_bits).reshape(num_positions, draws - 1)
    layout = _Layout(begins.sum(axis=1, dtype=np.int64), vocabulary)
    low_bytes = begin_bytes + -(-layout.num_low_bits // 8)
    low = np.unpackbits(packed[begin_bytes:low_bytes], count=layout.num_low_bits)
    ids = np.zeros(len(layout.widths), dtype=np.int64)
    for bit in range(int(layout.widths.max(initial=0))):
        has = layout.widths > bit
        ids[has] |= low[layout.low_starts[has] + bit].astype(np.int64) << bit
    high = np.flatnonzero(np.unpackbits(packed[low_bytes:], count=layout.num_high_bits)) - layout.high_starts
    counts = np.diff(np.flatnonzero(begins), append=num_positions * draws)
    return Drawn(layout.num_different, ids | (high << layout.widths), counts)


class _Layout:
    """Where the bits of each of the E ids lie."""

    def __init__(self, num_different: npt.NDArray[np.int64], vocabulary: int):
        self.num_different = num_different
        # The largest width that leaves no more gaps than ids: floor(log2(V / U)).
        ratio = np.maximum(vocabulary // np.maximum(num_different, 1), 1)
        width = np.frexp(ratio.astype(np.float64))[1].astype(np.int64) - 1
        high_sizes = num_different + ((vocabulary - 1) >> width)
        self.widths = np.repeat(width, num_different)
        """[E] low bits of each id."""
        self.low_starts = np.cumsum(self.widths) - self.widths
        """[E]"""
        firsts = np.cumsum(num_different) - num_different
        rank = np.arange(len(self.widths)) - np.repeat(firsts, num_different)
        self.high_starts = np.repeat(np.cumsum(high_sizes) - high_sizes, num_different) + rank
        """[E] where the bit of an id whose high part is 0 would lie."""
        self.num_low_bits = int(self.widths.sum())
        self.num_high_bits = int(high_sizes.sum())
