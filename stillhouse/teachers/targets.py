"""What a teacher says of a batch, in the forms that losses take.

B rows, T positions, V words of the tokenizer's true vocabulary, D features, K tokens. Everything is aligned with the
batch's labels: what stands at [b, t] is about the token that `labels[b, t]` is. Where nothing is counted, any value
may stand, and no loss looks there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """The whole distribution."""

    logits: Tensor
    """[B, T, V] at temperature 1, up to a constant a position, which no softmax sees."""

    def at(self, rows: Tensor, positions: Tensor) -> Tensor:
        """The logits at n places, [n, V]."""
        return self.logits[rows, positions]


@dataclass(frozen=True)
class Factored:
    """The whole distribution, not multiplied out: the logits are `hidden @ head.T`, which a loss makes in chunks."""

    hidden: Tensor
    """[B, T, D] after the final norm."""
    head: Tensor
    """[V, D]"""

    def at(self, rows: Tensor, positions: Tensor) -> Tensor:
        """The logits at n places, [n, V]."""
        return F.linear(self.hidden[rows, positions], self.head)


@dataclass(frozen=True)
class Mixture:
    """The whole distribution, a mixture of M that a loss mixes in chunks."""

    parts: tuple[Dense | Factored, ...]
    """What is mixed: probabilities, not logits."""
    log_shares: Tensor
    """[M, B, T] logarithms of their shares; minus infinity for no share. Where nothing is counted, any finite value."""

    def at(self, rows: Tensor, positions: Tensor) -> Tensor:
        """The logarithms of the mixture's probabilities at n places, [n, V], in fp32."""
        shares = self.log_shares[:, rows, positions]
        said = [F.log_softmax(each.at(rows, positions).float(), dim=-1) for each in self.parts]
        return torch.logsumexp(torch.stack(said) + shares[..., None], dim=0)


@dataclass(frozen=True)
class TopK:
    """The likeliest tokens; what they leave of 1 is the tail."""

    ids: Tensor
    """[B, T, K]"""
    log_probabilities: Tensor
    """[B, T, K] within the whole vocabulary, at the temperature of the loss."""


@dataclass(frozen=True)
class Draws:
    """Tokens drawn from the distribution at temperature 1."""

    ids: Tensor
    """[B, T, K]; K is the most different tokens at any position, and places that are left over hold id 0."""
    counts: Tensor
    """[B, T, K] how often each was drawn; 0 at places that are left over."""


@dataclass(frozen=True)
class Aligned:
    """The whole distribution over the words of another tokenizer, where P positions of the two go together."""

    said: Dense | Factored
    """Over the teacher's own batch: the same rows, other positions."""
    rows: Tensor
    """[P] of both batches."""
    positions: Tensor
    """[P] of the student's."""
    others: Tensor
    """[P] of the teacher's."""
    scale: float
    """Targets of the training text over those that have a partner."""


Distribution = Dense | Factored | Mixture | TopK | Draws


@dataclass(frozen=True)
class Targets:
    """What a student may learn of a teacher at each position."""

    distribution: Distribution | Aligned
    """Of the next token; `Aligned` of a teacher with another tokenizer alone."""
    hidden_states: Mapping[int, Tensor] = field(default_factory=dict)
    """[B, T, D] by layer, as transformers counts them: 0 is the embedding, i the output of block i, and the last one
    is taken after the final norm."""
    shares: Tensor | None = None
    """[M, B, T] of M teachers, each one's share of the distribution; `None` of a single teacher."""
