"""What a model's attention may see of a packed row, and models that cannot read one at all.

T positions of a row. transformers gives a mask [B, 1, T, T] to every layer as it is, so a window that a model was made
with has to be in it.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stillhouse.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FULL, _SLIDING = "full_attention", "sliding_attention"


def masks_of(config: "PretrainedConfig", mask: Tensor) -> Tensor | dict[str, Tensor]:
    """The mask of a packed row as a model wants it.

    Args:
        config: The model's.
        mask: [B, 1, T, T] causal within each text.

    Returns:
        The mask; with a sliding window in it where all layers have one; one of each kind, by the name that
        transformers has for it, where only some layers do.
    """
    window, kinds = window_of(config), _layer_types(config)
    if window is None or window >= mask.shape[-1]:
        return mask
    # Places of a row: within one text they are as far apart as those of the text alone.
    windowed = mask & torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1 - window)
    return {_FULL: mask, _SLIDING: windowed} if _FULL in kinds else windowed


def window_of(config: "PretrainedConfig") -> int | None:
    """How many positions a layer with a sliding window sees, itself among them; `None` where no layer has one."""
    text = config.get_text_config(decoder=True)
    kinds = _layer_types(config)
    if kinds and _SLIDING not in kinds:
        return None
    window: int | None = getattr(text, "sliding_window", None)
    return window


def check_packable(config: "PretrainedConfig", name: str, sequence_length: int) -> None:
    """Refuse an architecture whose layers carry something from one text of a packed row into the next.

    Read off the config and transformers' own class, before any weights; what these do not tell is seen when the model
    is opened (`packed_check`).

    Raises:
        InputError: Naming the layers that were seen.
    """
    chunk = getattr(config.get_text_config(decoder=True), "attention_chunk_size", None)
    # Hybrids say "attention" of the layers that are.
    other = sorted(_layer_types(config) - {_FULL, _SLIDING, "attention"})
    if "chunked_attention" in other:
        if chunk is not None and chunk < sequence_length:
            raise InputError(
                f"{name} attends within chunks of {chunk} tokens, and data.sequence_length is {sequence_length}: "
                f"packed texts would be cut elsewhere than the model does; set data.sequence_length to {chunk} or less"
            )
        other.remove("chunked_attention")
    if other or _class_says(config, "_is_stateful"):
        seen = f"layers of the kind {other[0]}" if other else "a state that is handed from token to token"
        raise InputError(
            f"{name} ({config.model_type}) has {seen}, and training texts are packed several to a row, where one "
            "text's state would leak into the next; take a teacher and a student whose layers all are attention under "
            "a mask"
        )
    if _class_says(config, "_supports_sdpa") is False:
        raise InputError(
            f"{name} ({config.model_type}) has no attention through PyTorch's scaled_dot_product_attention in "
            "transformers, which is how masks of packed texts are given; take another architecture, as llama or qwen3"
        )


def _layer_types(config: "PretrainedConfig") -> set[str]:
    return set(getattr(config.get_text_config(decoder=True), "layer_types", None) or ())


def _class_says(config: "PretrainedConfig", attribute: str) -> bool | None:
    """What transformers' class for this config says of itself; `None` of a model with code of its own."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    return bool(getattr(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], attribute, False))
