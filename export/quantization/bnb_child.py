"""What `quantize_bnb` does in processes of its own: quantize and save in one, open what was saved in another."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from stillhouse.errors import Unavailable
from stillhouse.models.load import ONE_FILE, load_quantized, quiet_bitsandbytes

# bfloat16 and not float32: bitsandbytes' 4-bit product on CPUs computes in nothing else, and with the embedding in
# float32 the demo's student lost 1.5% less KL in a file two thirds larger. Not float16, whose products are four times
# slower on CPUs, and whose range a large model's activations leave.
_DTYPE = torch.bfloat16
_TOKENS = 32


def quantize(payload: dict[str, Any]) -> dict[str, Any]:
    """Write a student's model quantized, and what the model in memory answers to a few tokens.

    Args:
        payload: `student`, `folder` (gets config and weights), `logits` (file that gets `[T, V]`), `kind`, `device`,
            `threads`.

    Raises:
        Unavailable: If bitsandbytes cannot quantize or run this model on this device.
    """
    torch.set_num_threads(payload["threads"])
    quiet_bitsandbytes()
    import bitsandbytes
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    device = payload["device"]
    supported = bitsandbytes.supported_torch_devices
    if torch.device(device).type not in supported:
        raise Unavailable(f"bitsandbytes does not run on {device}, only on {', '.join(sorted(supported))}")
    model = AutoModelForCausalLM.from_pretrained(
        payload["student"],
        quantization_config=_config(payload["kind"]),
        dtype=_DTYPE,
        device_map={"": device},
        use_safetensors=True,
        local_files_only=True,
    ).eval()
    if not any(isinstance(module, (Linear4bit, Linear8bitLt)) for module in model.modules()):
        raise Unavailable("bitsandbytes finds no linear layer in this architecture that it can replace")
    # Before any forward pass: the first one lays 4-bit weights out anew for some processors, and those, saved without
    # double quantization, come back as noise.
    model.save_pretrained(payload["folder"], safe_serialization=True, max_shard_size=ONE_FILE)
    with _unavailable_on(device):
        logits_TV = _logits(model)
    if not np.isfinite(logits_TV).all():
        raise Unavailable(f"logits of the model in {payload['kind'].removeprefix('bnb-')} are not finite")
    np.save(payload["logits"], logits_TV)
    return {}


def reopen(payload: dict[str, Any]) -> dict[str, Any]:
    """Write what the saved folder answers to the same tokens; the payload is that of `quantize`."""
    torch.set_num_threads(payload["threads"])
    # As it was in memory, also where it is served in another dtype.
    model = load_quantized(Path(payload["folder"]), payload["device"], "auto")
    np.save(payload["logits"], _logits(model))
    return {}


def _config(kind: str) -> BitsAndBytesConfig:
    if kind == "bnb-int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_DTYPE,
    )


def _logits(model: PreTrainedModel) -> np.ndarray:
    """Return `[T, V]` for tokens from all over the vocabulary; text would tell no more of a file."""
    ids = torch.linspace(0, model.config.vocab_size - 1, _TOKENS).long()[None]
    with torch.inference_mode():
        logits: np.ndarray = model(ids.to(model.device), use_cache=False).logits[0].float().cpu().numpy()
    return logits


@contextmanager
def _unavailable_on(device: str) -> Iterator[None]:
    """Say of a model that bitsandbytes' products refuse that it is the platform's limit, as for odd widths."""
    try:
        yield
    except torch.OutOfMemoryError:
        # No limit of the platform: with more memory, or nothing beside it, the model would run.
        raise
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"bitsandbytes cannot run a model of these widths on {device}: {reason}") from error
