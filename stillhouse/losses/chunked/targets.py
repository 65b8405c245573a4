"""What a teacher is known by: logits, the hidden states they are made of, its likeliest tokens, or draws from it.

B rows, T positions, V words, D features, K tokens stored; N counted positions of all B * T.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses.chunked.divergences import Divergence
from stillhouse.losses.reduction import at_least_fp32, counted
from stillhouse.losses.sampled import shares_of_draws
from stillhouse.losses.shapes import check_stored
from stillhouse.losses.top_k_with_tail import buckets


@dataclass(frozen=True)
class FactoredLogits:
    """Logits [B, T, V] that have not been multiplied out: `hidden @ head.T`.

    A head that does more than this product (a bias, a cap on the logits) does not fit; a scale goes into `hidden`.
    """

    hidden: Tensor
    """[B, T, D], after the final norm."""
    head: Tensor
    """[V, D], the weight of the model's last linear layer."""

    def __post_init__(self) -> None:
        if self.hidden.shape[-1] != self.head.shape[-1]:
            raise ValueError(
                f"hidden states and head must have one number of features, got {tuple(self.hidden.shape)} and "
                f"{tuple(self.head.shape)}; the head is [vocabulary, features]"
            )

    @property
    def shape(self) -> torch.Size:
        """Of the logits: [B, T, V]."""
        return torch.Size((*self.hidden.shape[:-1], self.head.shape[0]))

    @property
    def dtype(self) -> torch.dtype:
        """Of the product, if it were made here: autocast's where that is on, as for a linear layer."""
        wider = torch.promote_types(self.hidden.dtype, self.head.dtype)
        device = self.hidden.device.type
        autocast = wider == torch.float32 and torch.is_autocast_enabled(device)
        return torch.get_autocast_dtype(device) if autocast else wider


@dataclass(frozen=True)
class MixedLogits:
    """Logits [B, T, V] of a mixture of distributions, not mixed yet: logarithms of its probabilities."""

    parts: tuple[Tensor | FactoredLogits, ...]
    """[B, T, V] each, of M distributions."""
    log_shares: Tensor
    """[M, B, T] logarithms of their shares at each position, which add up to 1; minus infinity for no share."""

    @property
    def shape(self) -> torch.Size:
        """Of the logits: [B, T, V]."""
        return self.parts[0].shape


@dataclass(frozen=True)
class DenseTarget:
    """A teacher's whole distribution, as logits or as what they are made of."""

    logits: Tensor | FactoredLogits | MixedLogits
    """[B, T, V], any floating dtype."""
    divergence: Divergence


@dataclass(frozen=True)
class TopKTarget:
    """As `stillhouse.losses.top_k_with_tail` takes it, stored at the temperature of the loss."""

    ids: Tensor
    """[B, T, K]"""
    log_probabilities: Tensor
    """[B, T, K]"""


@dataclass(frozen=True)
class SampledTarget:
    """As `stillhouse.losses.sampled` takes it, drawn at temperature 1."""

    ids: Tensor
    """[B, T, K]"""
    weights: Tensor
    """[B, T, K]"""


Target = DenseTarget | TopKTarget | SampledTarget

Rows = Callable[[slice], tuple[Tensor, ...]]
"""A target at the N counted positions: gives, for some of them, tensors whose first axis is these positions. What it
gave before may be overwritten."""


def rows_of(target: Target, labels: Tensor, vocabulary: int, dtype: torch.dtype) -> Rows:
    """The target at the counted positions.

    Args:
        target: What the teacher is known by.
        labels: [B, T]; -100 where none is counted.
        vocabulary: V of the student.
        dtype: Of the arithmetic with stored values.

    Raises:
        ValueError: If the target does not fit labels and vocabulary.
    """
    mask = counted(labels)
    stored: tuple[Tensor, ...]
    match target:
        case DenseTarget(logits):
            if logits.shape != (*labels.shape, vocabulary):
                raise ValueError(
                    f"student and teacher logits must have one shape, got {(*labels.shape, vocabulary)} and "
                    f"{tuple(logits.shape)}; cut padded vocabularies to the tokenizer's"
                )
            return _whole(logits, mask)
        case TopKTarget(ids, log_probabilities):
            check_stored(ids, log_probabilities, labels)
            stored = buckets(ids[mask], log_probabilities[mask].to(dtype), vocabulary)
        case SampledTarget(ids, weights):
            check_stored(ids, weights, labels)
            stored = shares_of_draws(ids[mask], weights[mask].to(dtype), vocabulary)
    return lambda rows: tuple(values[rows] for values in stored)


def _whole(logits: Tensor | FactoredLogits | MixedLogits, mask: Tensor) -> Rows:
    match logits:
        case FactoredLogits():
            return _multiplied(logits, mask)
        case MixedLogits():
            return _mixed(logits, mask)
        case _:
            return _gathered(logits, mask)


def _mixed(logits: MixedLogits, mask: Tensor) -> Rows:
    parts = [_whole(part, mask) for part in logits.parts]
    log_shares = logits.log_shares[:, mask]

    def mix(rows: slice) -> tuple[Tensor, ...]:
        mixture: Tensor | None = None
        for part, share in zip(parts, log_shares, strict=True):
            (said,) = part(rows)
            term = F.log_softmax(at_least_fp32(said), dim=-1) + share[rows, None]
            mixture = term if mixture is None else torch.logaddexp(mixture, term)
        assert mixture is not None, "a mixture of nothing"
        return (mixture,)

    return mix


def _gathered(logits: Tensor, mask: Tensor) -> Rows:
    # Row by row of what was given: taking all counted positions at once would copy the whole of it.
    row, position = mask.nonzero(as_tuple=True)
    return lambda rows: (logits[row[rows], position[rows]],)


def _multiplied(logits: FactoredLogits, mask: Tensor) -> Rows:
    hidden = logits.hidden[mask].detach().to(logits.dtype)
    head = logits.head.detach().to(logits.dtype)
    product: Tensor | None = None

    def multiply(rows: slice) -> tuple[Tensor, ...]:
        nonlocal product
        # One piece of memory for all chunks: fresh pages for each would cost as much as a pass over them.
        if product is None or len(product) < rows.stop - rows.start:
            product = hidden.new_empty(rows.stop - rows.start, len(head))
        return (torch.mm(hidden[rows], head.T, out=product[: rows.stop - rows.start]),)

    return multiply
