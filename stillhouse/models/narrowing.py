"""Making a decoder narrower: which channels and heads stay, and the cut itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stillhouse.models.activations import Importance, norms
from stillhouse.models.decoder import LAYER, Axis, Sizes, axes_of, write_sizes


@dataclass(frozen=True)
class Kept:
    """What stays, each in its old order."""

    hidden: tuple[int, ...]
    """Channels of the residual stream, the same in all layers."""
    feed_forward: tuple[tuple[int, ...], ...]
    """Channels of each layer."""
    key_value_heads: tuple[tuple[int, ...], ...]
    """Key/value heads of each layer; the query heads that share them stay too."""


def choose(importance: Importance, sizes: Sizes) -> Kept:
    """Keep what is most important: of equals the first.

    Args:
        importance: Of what there is.
        sizes: Of what shall be left.
    """
    return Kept(
        hidden=_largest(importance.hidden, sizes.hidden_size),
        feed_forward=tuple(_largest(layer, sizes.feed_forward_size) for layer in importance.feed_forward),
        key_value_heads=tuple(_largest(layer, sizes.key_value_heads) for layer in importance.key_value_heads),
    )


def narrow(model: Any, kept: Kept, sizes: Sizes, norm_factors: Sequence[float] | None) -> Any:
    """Cut a decoder down to what is kept, in place, with a configuration that says so.

    Args:
        model: A decoder of a known family.
        kept: What stays.
        sizes: Of what is left.
        norm_factors: From `measure_norm_factors`; None where every hidden channel stays.
    """
    with torch.no_grad():
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                _cut_parameter(module, name, f"{path}.{name}", parameter, kept, sizes)
        for norm, factor in zip(norms(model), norm_factors or (), strict=norm_factors is not None):
            weight: Any = norm.weight
            weight.mul_(factor)
    write_sizes(model.config, sizes)
    # Embedding and head were cut apart.
    model.tie_weights()
    return model


def places(tensor: str, kept: Kept, sizes: Sizes) -> tuple[list[int] | None, ...]:
    """For each axis of a tensor of a known family, the places that stay; None where all do.

    Args:
        tensor: Its name in the model that is left.
        kept: What stays.
        sizes: Of what is left.
    """
    axes = axes_of(tensor)
    # `read_decoder` has refused a model with tensors that are not known.
    assert axes is not None, tensor
    layer = LAYER.fullmatch(tensor)
    return tuple(_index(axis, int(layer[1]) if layer else 0, kept, sizes) for axis in axes)


def _cut_parameter(module: nn.Module, name: str, path: str, parameter: nn.Parameter, kept: Kept, sizes: Sizes) -> None:
    weights: Tensor = parameter
    for dimension, index in enumerate(places(path, kept, sizes)):
        if index is not None:
            weights = weights.index_select(dimension, torch.tensor(index, device=weights.device))
    setattr(module, name, nn.Parameter(weights.contiguous(), requires_grad=parameter.requires_grad))
    stated: Any = module
    match module:
        case nn.Linear():
            stated.out_features, stated.in_features = stated.weight.shape
        case nn.Embedding():
            stated.embedding_dim = stated.weight.shape[1]


def _index(axis: Axis, layer: int, kept: Kept, sizes: Sizes) -> list[int] | None:
    """Places along an axis that stay; None where all do."""
    match axis:
        case "hidden":
            return list(kept.hidden)
        case "feed_forward":
            return list(kept.feed_forward[layer])
        case "key_value":
            return _blocks(kept.key_value_heads[layer], sizes.head_size)
        case "query":
            return _blocks(kept.key_value_heads[layer], sizes.queries_per_head * sizes.head_size)
        case "vocabulary" | "head":
            return None


def _blocks(heads: Sequence[int], width: int) -> list[int]:
    return [channel for head in heads for channel in range(head * width, (head + 1) * width)]


def _largest(scores: Tensor, count: int) -> tuple[int, ...]:
    order = torch.sort(scores, descending=True, stable=True).indices[:count]
    return tuple(sorted(order.tolist()))
