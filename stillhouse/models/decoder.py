"""Llama-like decoders by their widths: which axis of which tensor is what, and how many parameters sizes come to.

Everything that makes a decoder narrower reads this one table: the planner counts with it, the cut follows it, and a
model that does not fit it is refused before anything is loaded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from stillhouse.errors import InputError

Axis = Literal["vocabulary", "hidden", "feed_forward", "query", "key_value", "head"]
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Types of model whose arithmetic is known here. Others may have tensors of these names and use them otherwise: Gemma
multiplies by one more than its norm's weight."""
OUTSIDE: dict[str, tuple[Axis, ...]] = {
    "model.embed_tokens.weight": ("vocabulary", "hidden"),
    "model.norm.weight": ("hidden",),
    "lm_head.weight": ("vocabulary", "hidden"),
}
"""Tensors outside the layers, by name."""
IN_LAYER: dict[str, tuple[Axis, ...]] = {
    "input_layernorm.weight": ("hidden",),
    "self_attn.q_proj.weight": ("query", "hidden"),
    "self_attn.q_proj.bias": ("query",),
    "self_attn.q_norm.weight": ("head",),
    "self_attn.k_proj.weight": ("key_value", "hidden"),
    "self_attn.k_proj.bias": ("key_value",),
    "self_attn.k_norm.weight": ("head",),
    "self_attn.v_proj.weight": ("key_value", "hidden"),
    "self_attn.v_proj.bias": ("key_value",),
    "self_attn.o_proj.weight": ("hidden", "query"),
    "self_attn.o_proj.bias": ("hidden",),
    "post_attention_layernorm.weight": ("hidden",),
    "mlp.gate_proj.weight": ("feed_forward", "hidden"),
    "mlp.gate_proj.bias": ("feed_forward",),
    "mlp.up_proj.weight": ("feed_forward", "hidden"),
    "mlp.up_proj.bias": ("feed_forward",),
    "mlp.down_proj.weight": ("hidden", "feed_forward"),
    "mlp.down_proj.bias": ("hidden",),
}
"""Tensors of one layer, by name within the layer."""
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
"""Number of the layer, and name within it, of a tensor."""


@dataclass(frozen=True)
class Sizes:
    """What decides a decoder's parameters."""

    layers: int
    """Blocks."""
    hidden_size: int
    """Channels of the residual stream."""
    feed_forward_size: int
    """Channels of the feed-forward."""
    key_value_heads: int
    """Heads of keys and values."""
    queries_per_head: int
    """Query heads that share one key/value head."""
    head_size: int
    """Channels of one head."""
    vocabulary_size: int
    """Rows of the embedding."""

    @property
    def attention_heads(self) -> int:
        """Query heads."""
        return self.key_value_heads * self.queries_per_head

    def along(self, axis: Axis) -> int:
        """Length of an axis."""
        match axis:
            case "vocabulary":
                return self.vocabulary_size
            case "hidden":
                return self.hidden_size
            case "feed_forward":
                return self.feed_forward_size
            case "query":
                return self.attention_heads * self.head_size
            case "key_value":
                return self.key_value_heads * self.head_size
            case "head":
                return self.head_size


@dataclass(frozen=True)
class Decoder:
    """The sizes of a model, and the tensors that it has."""

    sizes: Sizes
    outside: tuple[tuple[Axis, ...], ...]
    """Axes of each tensor outside the layers; a head tied to the embedding is none of its own."""
    in_layer: tuple[tuple[Axis, ...], ...]
    """Axes of each tensor of one layer."""

    def parameters(self, sizes: Sizes) -> int:
        """Parameters that a model with these tensors has at other sizes."""
        outside, layer = (
            sum(prod(map(sizes.along, axes)) for axes in tensors) for tensors in (self.outside, self.in_layer)
        )
        return outside + sizes.layers * layer


def read_decoder(config: PretrainedConfig, name: str) -> Decoder:
    """Read the sizes of a model off its config, and see that its tensors are those that are known here.

    Args:
        config: Of a causal language model.
        name: What an error calls the model.

    Raises:
        InputError: If it is of another family, or has a tensor that the table above does not know.
    """
    if config.model_type not in FAMILIES:
        raise InputError(
            f"{name} is of type {config.model_type!r}, which cannot be made narrower here: {', '.join(FAMILIES)} can; "
            "take student.kind depth, fresh or model instead"
        )
    sizes = _sizes(config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    outside, in_layer = [], []
    for tensor, parameter in model.named_parameters():
        axes = axes_of(tensor)
        expected = None if axes is None else tuple(map(sizes.along, axes))
        if axes is None or tuple(parameter.shape) != expected:
            raise InputError(
                f"{name} has a tensor {tensor} of shape {tuple(parameter.shape)}, where {expected or 'none'} was "
                "expected: it cannot be made narrower here; take student.kind depth, fresh or model instead"
            )
        found = LAYER.fullmatch(tensor)
        if found is None:
            outside.append(axes)
        elif found[1] == "0":
            in_layer.append(axes)
    return Decoder(sizes, tuple(outside), tuple(in_layer))


def axes_of(tensor: str) -> tuple[Axis, ...] | None:
    """What each axis of a tensor is, by the tensor's name; None where the name is not known."""
    found = LAYER.fullmatch(tensor)
    return OUTSIDE.get(tensor) if found is None else IN_LAYER.get(found[2])


def write_sizes(config: PretrainedConfig, sizes: Sizes) -> None:
    """Make a config of a known family say these sizes, the width of a head in so many words."""
    stated: Mapping[str, Any] = {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.feed_forward_size,
        "num_attention_heads": sizes.attention_heads,
        "num_key_value_heads": sizes.key_value_heads,
        # Otherwise a reader would take hidden_size / num_attention_heads.
        "head_dim": sizes.head_size,
    }
    for key, value in stated.items():
        setattr(config, key, value)


def _sizes(config: Any) -> Sizes:
    return Sizes(
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        feed_forward_size=config.intermediate_size,
        key_value_heads=config.num_key_value_heads,
        queries_per_head=config.num_attention_heads // config.num_key_value_heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        vocabulary_size=config.vocab_size,
    )
