"""Random states, heads and labels, and every form of target beside the plain loss of the same knowledge."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.losses import forward_kl
from stillhouse.losses.chunked import (
    ChunkedLoss,
    Chunking,
    DenseTarget,
    FactoredLogits,
    MixedLogits,
    SampledTarget,
    Target,
    TopKTarget,
    divergences,
)
from stillhouse.losses.jensen_shannon import jensen_shannon
from stillhouse.losses.reverse_kl import reverse_kl
from stillhouse.losses.sampled import sampled
from stillhouse.losses.skewed_forward_kl import skewed_forward_kl
from stillhouse.losses.skewed_reverse_kl import skewed_reverse_kl
from stillhouse.losses.taid import taid
from stillhouse.losses.top_k_with_tail import top_k_with_tail
from stillhouse.losses.total_variation import total_variation

ROWS, TOKENS, FEATURES, VOCABULARY = 3, 6, 4, 11
TWO = Chunking(rows=2)


class Case(NamedTuple):
    hidden: Tensor
    head: Tensor
    teacher_hidden: Tensor
    teacher_head: Tensor
    labels: Tensor

    @property
    def student(self) -> FactoredLogits:
        return FactoredLogits(self.hidden, self.head)

    @property
    def teacher(self) -> FactoredLogits:
        return FactoredLogits(self.teacher_hidden, self.teacher_head)

    @property
    def logits(self) -> Tensor:
        return self.hidden @ self.head.T

    @property
    def teacher_logits(self) -> Tensor:
        return (self.teacher_hidden @ self.teacher_head.T).detach()


def random_case(dtype: torch.dtype = torch.float64) -> Case:
    """Thirteen counted positions: not a multiple of the chunk. The teacher has features of its own number."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    labels = torch.randint(0, VOCABULARY, (ROWS, TOKENS), generator=generator)
    labels[0, :2] = labels[1, 4:] = labels[2, 3] = -100
    return Case(
        values(ROWS, TOKENS, FEATURES).requires_grad_(),
        values(VOCABULARY, FEATURES).requires_grad_(),
        values(ROWS, TOKENS, 5),
        values(VOCABULARY, 5),
        labels,
    )


Plain = Callable[..., Tensor]


DENSE: dict[str, tuple[divergences.Divergence, Plain]] = {
    "forward KL": (divergences.forward_kl(), forward_kl),
    "reverse KL": (divergences.reverse_kl(), reverse_kl),
    "JSD 0.5": (divergences.jensen_shannon(), jensen_shannon),
    "JSD 0.1": (divergences.jensen_shannon(0.1), partial(jensen_shannon, beta=0.1)),
    "JSD 0": (divergences.jensen_shannon(0.0), partial(jensen_shannon, beta=0.0)),
    "skewed forward KL": (divergences.skewed_forward_kl(), skewed_forward_kl),
    "skewed forward KL 0": (divergences.skewed_forward_kl(0.0), partial(skewed_forward_kl, skew=0.0)),
    "skewed reverse KL": (divergences.skewed_reverse_kl(0.3), partial(skewed_reverse_kl, skew=0.3)),
    "total variation": (divergences.total_variation(), total_variation),
    "TAID": (divergences.taid(t=0.4), partial(taid, t=0.4)),
}


def stored(case: Case, k: int, temperature: float) -> tuple[Tensor, Tensor]:
    found = F.log_softmax(case.teacher_logits / temperature, -1).topk(k, dim=-1)
    return found.indices, found.values


def drawn(case: Case) -> tuple[Tensor, Tensor]:
    """Draws with a repeated id and with an unused place."""
    flat = F.softmax(case.teacher_logits.double(), -1).flatten(0, 1)
    ids = torch.multinomial(flat, 6, replacement=True, generator=torch.Generator().manual_seed(1))
    counts = torch.tensor([1, 2, 1, 1, 3, 0], dtype=torch.uint8).expand(ROWS, TOKENS, 6)
    return ids.view(ROWS, TOKENS, 6), counts


def with_unused(ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Two places more, which hold nothing."""
    return F.pad(ids, (0, 2)), F.pad(values, (0, 2), value=-torch.inf)


UNUSED = "top 3 and two unused places"
STORED = ["top 3", f"top {VOCABULARY}", UNUSED]
TEMPERED = [f"{name}, {form}" for name in DENSE for form in ("logits", "hidden states", "a mixture")] + STORED
NAMES = [*TEMPERED, "sampled"]


def target_of(case: Case, name: str, temperature: float = 1.0) -> tuple[Target, Tensor]:
    """A form of target beside the plain loss of the same knowledge."""
    logits, labels = case.logits, case.labels
    if name == "sampled":
        return SampledTarget(*drawn(case)), sampled(logits, *drawn(case), labels)
    if name in STORED:
        known = stored(case, int(name.split()[1]), temperature)
        known = with_unused(*known) if name == UNUSED else known
        return TopKTarget(*known), top_k_with_tail(logits, *known, labels, temperature=temperature)
    kind, form = name.split(", ")
    divergence, plain = DENSE[kind]
    known_as, teacher_logits = {
        "logits": (case.teacher_logits, case.teacher_logits),
        "hidden states": (case.teacher, case.teacher_logits),
        "a mixture": mixed(case),
    }[form]
    dense = plain(logits, teacher_logits, labels, temperature=temperature)
    return DenseTarget(known_as, divergence), dense


def mixed(case: Case) -> tuple[MixedLogits, Tensor]:
    """The teacher and another one, with shares of each position's own; and logits of the probabilities' mean."""
    generator = torch.Generator().manual_seed(2)
    other = torch.randn(ROWS, TOKENS, VOCABULARY, generator=generator, dtype=torch.float64).to(case.hidden.dtype)
    shares = torch.rand(ROWS, TOKENS, generator=generator, dtype=torch.float64).to(case.hidden.dtype)
    # At some positions one of them is alone.
    shares[0, 3], shares[2, 0] = 0, 1
    both = torch.stack([shares, 1 - shares])
    said = torch.stack([case.teacher_logits.softmax(-1), other.softmax(-1)])
    return MixedLogits((case.teacher, other), both.log()), (both[..., None] * said).sum(0).log()


every_target = pytest.mark.parametrize("name", NAMES)


def compare(case: Case, found: ChunkedLoss, dense: Tensor, **tolerance: float) -> None:
    inputs = (case.hidden, case.head)
    torch.testing.assert_close(found.loss, dense, check_dtype=False, **tolerance)
    # A factor on the loss must reach the gradients, as the share of a micro-batch does.
    slopes = torch.autograd.grad(found.loss * 3, inputs)
    for slope, expected in zip(slopes, torch.autograd.grad(dense * 3, inputs), strict=True):
        torch.testing.assert_close(slope, expected, **tolerance)
