"""The training loss from hidden states and head, of which no more than a chunk of logits exists at a time.

B rows, T positions, D features, V words; N counted positions of all B * T, C of them in a chunk.

Autograd would keep some ten tensors [B, T, V] in fp32 between forward and backward. The slope of the loss by the
logits has a closed form, so one pass over chunks does all: logits, loss, slope, and the slope's two products that are
the gradients of hidden states and head (Hsu et al., 2024, "Liger Kernel"). Backward only scales them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stillhouse.losses.agreement import agreed, likeliest
from stillhouse.losses.chunked import tiles
from stillhouse.losses.chunked.targets import (
    DenseTarget,
    FactoredLogits,
    Rows,
    SampledTarget,
    Target,
    TopKTarget,
    rows_of,
)
from stillhouse.losses.reduction import counted, widest
from stillhouse.losses.shapes import check_labels, check_share, check_temperature

_TILE_NUMBERS = 2**18
"""Logits at a time on a processor: the ten and more passes over a tile then find it in the processor's cache, and none
of them waits for fresh memory. Four times as many cost a few percent, sixteen times as many a third."""

_HEAD_BLOCK = 4096
"""Words of the head at a time, where a product cannot be added to its gradient directly."""


@dataclass(frozen=True)
class ChunkedLoss:
    """A loss and its two parts, each a mean over the counted tokens."""

    loss: Tensor
    """`(1 - alpha) * cross_entropy + alpha * teacher_loss`; gradients flow from here."""
    cross_entropy: Tensor
    """With the text, for the record."""
    teacher_loss: Tensor
    """The divergence from the teacher, or the cross-entropy with its draws, for the record."""
    agreement: Tensor | None = None
    """Share of the tokens at which student and teacher find the same one likeliest; `None` where it was not counted."""


@dataclass(frozen=True)
class Chunking:
    """How the work is cut; decides time and memory, not values."""

    rows: int = 512
    """Positions in a chunk. Each chunk adds to the whole gradient of the head, [V, D], so small ones lose time."""
    compiled: bool = False
    """Fuse a chunk's arithmetic with `torch.compile`, which needs a C++ compiler and half a minute at the start."""


def chunked_loss(
    student: FactoredLogits,
    labels: Tensor,
    target: Target | None,
    *,
    alpha: float,
    temperature: float = 1.0,
    chunking: Chunking = Chunking(),  # noqa: B008  # frozen
    weights: Tensor | None = None,
    with_agreement: bool = False,
) -> ChunkedLoss:
    """Cross-entropy with the text and a loss with the teacher, mixed: values and gradients of the plain losses.

    Under autocast the products are made in its dtype, else in the wider one of hidden states and head. Everything
    between the products is at least fp32, and so is the sum of the head's gradient over chunks.

    Args:
        student: Gradients flow to its hidden states and head, once: a second backward is refused.
        labels: [B, T]; `labels[b, t]` is the token that position t of row b predicts, -100 where none is counted.
        target: The teacher; `None` counts as an alpha of 0.
        alpha: The teacher's share of the loss.
        temperature: Softens teacher and student in the teacher's loss, which is scaled by its square.
        chunking: How the work is cut.
        weights: [B, T] what the losses of each position are multiplied by; they are still divided by the number of
            counted tokens, not by the sum of weights, so that a batch of little weight pulls little.
        with_agreement: Whether to count where both find the same token likeliest, one more pass over the logits.

    Raises:
        ValueError: If shapes do not fit or a number is out of range.
    """
    check_temperature(temperature)
    check_share("alpha", alpha)
    hidden, head = student.hidden, student.head
    check_labels(hidden, labels)
    if isinstance(target, SampledTarget) and temperature != 1:
        raise ValueError(f"sampled targets were drawn at temperature 1 and cannot be softened, got {temperature}")
    mask = counted(labels)
    if weights is not None and weights.shape != labels.shape:
        raise ValueError(f"weights and labels must have one shape, got {weights.shape} and {labels.shape}")
    share = alpha if target is not None else 0.0
    tile, rows = _tile_of(target if share > 0 else None, student, labels, (share, temperature))
    if chunking.compiled:
        tile = partial(_compiled(tile.func), **tile.keywords)
    counts_agreement = with_agreement and share > 0
    weighed = None if weights is None else weights[mask]
    # Seen here: within the function that autograd calls, gradients are always off.
    learns = torch.is_grad_enabled()
    work = _Work(labels[mask], rows, tile, chunking, student.dtype, weighed, counts_agreement, learns)
    loss, cross_entropy, teacher_loss, agreement = _Chunked.apply(hidden[mask], head, work, share)
    return ChunkedLoss(loss, cross_entropy, teacher_loss, agreement if counts_agreement else None)


@dataclass(frozen=True)
class _Work:
    """What the pass over chunks reads besides hidden states and head."""

    labels: Tensor
    """[N]"""
    rows: Rows
    """The target's tensors for a chunk; none without a teacher."""
    tile: Callable[..., tiles.Losses]
    """The arithmetic of some positions, which takes logits, labels and the target's tensors."""
    chunking: Chunking
    dtype: torch.dtype
    """Of the products with the head."""
    weights: Tensor | None = None
    """[N] what each position counts; `None` where all count alike."""
    counts_agreement: bool = False
    """Whether to count where both find the same token likeliest."""
    learns: bool = True
    """Whether gradients are made: validation would otherwise take twice its time for what nobody reads."""


def _tile_of(
    target: Target | None, student: FactoredLogits, labels: Tensor, share_and_temperature: tuple[float, float]
) -> tuple[partial[tiles.Losses], Rows]:
    """The arithmetic for this target, and where its tensors come from."""
    if target is None:
        return partial(tiles.text_alone), lambda rows: ()
    alpha, temperature = share_and_temperature
    dtype = torch.promote_types(student.dtype, torch.float32)
    numbers = torch.tensor([alpha, temperature, _parameter(target)], dtype=dtype, device=student.hidden.device)
    mix = tiles.Mix(numbers[0], numbers[1], numbers[2], tempered=temperature != 1, with_text=alpha != 1)
    rows = rows_of(target, labels, len(student.head), dtype)
    match target:
        case DenseTarget(_, divergence):
            return partial(tiles.dense, mix=mix, value_and_slope=divergence.value_and_slope), rows
        case TopKTarget():
            return partial(tiles.top_k, mix=mix), rows
        case SampledTarget():
            return partial(tiles.sampled, mix=mix), rows


def _parameter(target: Target) -> float:
    return target.divergence.parameter if isinstance(target, DenseTarget) else 0.0


@cache
def _compiled(function: Callable[..., tiles.Losses]) -> Callable[..., tiles.Losses]:
    return torch.compile(function)


class _Chunked(torch.autograd.Function):
    """N hidden states and a head in, three scalars out, and the gradients of both made on the way."""

    @staticmethod
    def forward(
        context: Any, hidden_ND: Tensor, head_VD: Tensor, work: _Work, alpha: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = torch.promote_types(work.dtype, torch.float32)
        gradients = [
            torch.zeros_like(tensor, dtype=wide) if needed and work.learns else None
            for tensor, needed in zip((hidden_ND, head_VD), context.needs_input_grad, strict=False)
        ]
        sums = torch.zeros(3, dtype=widest(hidden_ND.device), device=hidden_ND.device)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            hidden, head = hidden_ND.to(work.dtype), head_VD.to(work.dtype)
            number, size = len(hidden), work.chunking.rows
            # One piece of memory for all chunks: fresh pages for each would cost as much as a pass over them.
            scores_CV = hidden.new_empty(min(number, size), len(head))
            for start in range(0, number, size):
                rows = slice(start, min(start + size, number))
                scores = torch.mm(hidden[rows], head.T, out=scores_CV[: rows.stop - start])
                sums += _to_slopes(scores, rows, work)
                _add_products(gradients, scores, (rows, hidden, head))
        context.gradients, context.number = gradients, max(number, 1)
        context.dtypes = hidden_ND.dtype, head_VD.dtype
        cross_entropy, teacher_loss, agreement = (sums / max(number, 1)).to(wide).unbind()
        context.mark_non_differentiable(cross_entropy, teacher_loss, agreement)
        return (1 - alpha) * cross_entropy + alpha * teacher_loss, cross_entropy, teacher_loss, agreement

    @staticmethod
    @once_differentiable
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        if context.gradients is None:
            raise RuntimeError("the chunked loss keeps its gradients for one backward; compute the loss again")
        scale = slopes[0] / context.number
        # In place, and let go of: the gradient of a head is as large as the head.
        scaled = [
            None if gradient is None else gradient.mul_(scale).to(dtype)
            for gradient, dtype in zip(context.gradients, context.dtypes, strict=True)
        ]
        context.gradients = None
        return (*scaled, None, None)


def _to_slopes(scores: Tensor, rows: slice, work: _Work) -> Tensor:
    """Overwrite logits [C, V] with their slope; gives the sums of cross-entropy, teacher's loss and agreement."""
    sums = torch.zeros(3, dtype=widest(scores.device), device=scores.device)
    labels, target = work.labels[rows], work.rows(rows)
    on_processor = scores.device.type == "cpu"
    size = max(torch.get_num_threads(), _TILE_NUMBERS // scores.shape[1]) if on_processor else len(scores)
    for start in range(0, len(scores), size):
        part = slice(start, start + size)
        known = [values[part] for values in target]
        if work.counts_agreement:
            sums[2] += agreed(scores[part], likeliest(*known[:2])).sum()
        cross_entropy, teacher_loss, slope = work.tile(scores[part], labels[part], *known)
        if work.weights is not None:
            weights = work.weights[rows][part].to(slope.dtype)
            cross_entropy, teacher_loss = cross_entropy * weights, teacher_loss * weights
            slope = slope * weights[:, None]
        sums[:2] += torch.stack([cross_entropy.sum(), teacher_loss.sum()])
        scores[part] = slope
    return sums


def _add_products(gradients: list[Tensor | None], slope: Tensor, chunk: tuple[slice, Tensor, Tensor]) -> None:
    """Add what a chunk's slope [C, V] gives to the gradients of hidden states [N, D] and head [V, D]."""
    of_hidden, of_head = gradients
    rows, hidden, head = chunk
    if of_hidden is not None:
        of_hidden[rows] = slope @ head
    if of_head is None:
        return
    if of_head.dtype == slope.dtype:
        of_head.addmm_(slope.T, hidden[rows])
        return
    # A product in bf16 is rounded once and then added in fp32; in blocks, so that it is added while in the cache.
    for start in range(0, len(of_head), _HEAD_BLOCK):
        words = slice(start, start + _HEAD_BLOCK)
        of_head[words] += slope[:, words].T @ hidden[rows]
