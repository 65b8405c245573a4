"""What of a decoder is active on training tokens: forward passes only, no gradients, no logits.

Importance of channels and heads by the size of their activations, after Muralidharan et al., "Compact Language Models
via Pruning and Knowledge Distillation" (Minitron, arXiv 2407.14679), section 2.2.

B rows, T positions, N counted positions, L layers, H hidden size, F feed-forward size, K key/value heads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stillhouse import progress
from stillhouse.losses.reduction import IGNORED
from stillhouse.models.decoder import Sizes
from stillhouse.training.batches import Batch

Statistic = Literal["mean_absolute", "root_mean_square"]
NORMS = ("input_layernorm", "post_attention_layernorm")
"""Of each layer; the model's own last norm comes after all of them."""


@dataclass(frozen=True)
class Importance:
    """How large activations are, as a mean over counted tokens; in fp64."""

    hidden: Tensor
    """[H] of what the norms give, added up over all norms."""
    feed_forward: Tensor
    """[L, F] of what the last projection of the feed-forward reads."""
    key_value_heads: Tensor
    """[L, K] of the outputs of the query heads that share each key/value head, as one vector's length."""


def measure_importance(model: Any, batches: Sequence[Batch], sizes: Sizes, statistic: Statistic) -> Importance:
    """Measure channels and heads on counted tokens.

    Every norm's output has the same scale over its channels, so that the sum over norms lets no layer decide alone.

    Args:
        model: A decoder of a known family, whole.
        batches: Tokens to measure on; one batch of activations is held at a time.
        sizes: The model's.
        statistic: What is taken of an activation over tokens.

    Raises:
        ValueError: If an activation is not finite.
    """
    layers = model.model.layers
    feed_forward = torch.zeros(len(layers), sizes.feed_forward_size, dtype=torch.float64)
    heads = torch.zeros(len(layers), sizes.key_value_heads, dtype=torch.float64)
    per_norm = torch.zeros(len(norms(model)), sizes.hidden_size, dtype=torch.float64)
    read: list[tuple[nn.Module, bool, Callable[[Tensor], None]]] = []
    for index, layer in enumerate(layers):
        read.append((layer.mlp.down_proj, True, _adder(feed_forward[index], statistic)))
        read.append((layer.self_attn.o_proj, True, _head_adder(heads[index], statistic)))
    for index, norm in enumerate(norms(model)):
        read.append((norm, False, _adder(per_norm[index], statistic)))
    tokens = _pass_over(model, batches, read, "measures activations")
    for each in (feed_forward, heads, per_norm):
        each /= tokens
        if statistic == "root_mean_square":
            each.sqrt_()
        if not each.isfinite().all():
            raise ValueError("an activation of the teacher is not finite; its weights are damaged or overflow")
    return Importance(per_norm.sum(dim=0), feed_forward, heads)


def measure_norm_factors(model: Any, batches: Sequence[Batch], kept: Sequence[int]) -> list[float]:
    """What each norm's weight must be multiplied with once only some hidden channels stay.

    A norm divides by the root mean square of its input, and that of the kept channels is another one. The factor
    which leaves the output nearest to what it was, by least squares over tokens, is the mean over tokens of the root
    mean square of the kept channels over that of all. It is taken token by token because the first token of a text may
    be a thousand times larger than all others (Sun et al., arXiv 2402.17762) and would decide a ratio of means.

    Args:
        model: A decoder of a known family, whole.
        batches: Tokens to measure on.
        kept: Channels that stay.

    Returns:
        One factor for each of `norms(model)`.
    """
    index = torch.tensor(list(kept), device=model.device)
    sums = torch.zeros(len(norms(model)), dtype=torch.float64)

    def adder(place: int) -> Callable[[Tensor], None]:
        def add(states_NH: Tensor) -> None:
            energy_NH = states_NH.double() ** 2
            whole_N, part_N = energy_NH.mean(dim=-1), energy_NH.index_select(-1, index).mean(dim=-1)
            sums[place] += (part_N / whole_N.clamp_min(torch.finfo(torch.float64).tiny)).sqrt().sum().cpu()

        return add

    read = [(norm, True, adder(place)) for place, norm in enumerate(norms(model))]
    tokens = _pass_over(model, batches, read, "measures norms")
    factors: list[float] = (sums / tokens).tolist()
    return factors


def norms(model: Any) -> list[nn.Module]:
    """Every norm of the residual stream, in their order of depth."""
    inner = [getattr(layer, name) for layer in model.model.layers for name in NORMS]
    return [*inner, model.model.norm]


def _adder(total: Tensor, statistic: Statistic) -> Callable[[Tensor], None]:
    def add(states_NC: Tensor) -> None:
        states_NC = states_NC.double()
        total.add_((states_NC.abs() if statistic == "mean_absolute" else states_NC**2).sum(dim=0).cpu())

    return add


def _head_adder(total: Tensor, statistic: Statistic) -> Callable[[Tensor], None]:
    def add(states_NC: Tensor) -> None:
        # Query heads of one key/value head lie side by side, so a group is a block of channels.
        squares_NK = (states_NC.double() ** 2).unflatten(-1, (len(total), -1)).sum(dim=-1)
        total.add_((squares_NK.sqrt() if statistic == "mean_absolute" else squares_NK).sum(dim=0).cpu())

    return add


@torch.inference_mode()
def _pass_over(
    model: Any,
    batches: Sequence[Batch],
    read: Sequence[tuple[nn.Module, bool, Callable[[Tensor], None]]],
    what: str,
) -> int:
    """Run the decoder without its head, and show each module's counted input or output; gives N."""
    tokens = 0
    for number, batch in enumerate(batches):
        counted_BT = batch.labels != IGNORED
        with _shown(read, counted_BT):
            model.model(**batch.inputs_of(model), use_cache=False)
        tokens += batch.num_counted
        progress.step(what, number + 1, len(batches))
    return max(tokens, 1)


@contextmanager
def _shown(read: Sequence[tuple[nn.Module, bool, Callable[[Tensor], None]]], counted_BT: Tensor) -> Iterator[None]:
    def hook(add: Callable[[Tensor], None], of_input: bool) -> Callable[..., None]:
        def show(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            add((inputs[0] if of_input else output)[counted_BT])

        return show

    handles = [module.register_forward_hook(hook(add, of_input)) for module, of_input, add in read]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
