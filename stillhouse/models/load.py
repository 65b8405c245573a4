"""Model folders: opened, written, counted.

A model folder is what transformers opens: config.json, model.safetensors, generation_config.json, tokenizer.json and
what belongs to it. Nothing here reaches a hub, and only safetensors are read: a pickle can run code.
"""

import io
import json
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precision of weights by its short name."""
ONE_FILE = 1 << 50
"""Shard size that no model reaches."""
_NOISE = {
    # Once a call, and it is meant: activations are rounded from 16 bits.
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",
    # Where an optional package is missing that would fetch code from a hub.
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}


def load_model(
    folder: Path,
    *,
    device: str,
    dtype: Literal["fp32", "bf16"],
    attention: str = "sdpa",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model for inference, in one precision on one device.

    Args:
        folder: A model folder.
        device: Any torch device.
        dtype: Precision of all weights, whatever they are stored in. A quantized folder is opened as it ships
            instead: its matrices in few bits, and the rest in the dtype that its config names, or in float32 on a CPU
            without arithmetic for that one.
        attention: Implementation of attention, as transformers names it.
        trust_remote_code: Run the Python that lies in the folder.

    Raises:
        InputError: If the folder cannot be opened or lacks weights that its config asks for.
    """
    if is_quantized(folder):
        rest = _dtype_beside_quantized(device)
        return load_quantized(folder, device, rest, attention=attention, trust_remote_code=trust_remote_code)
    model = read_weights(folder, dtype=DTYPES[dtype], attention=attention, trust_remote_code=trust_remote_code)
    model.to(torch.device(device))  # type: ignore[arg-type]
    return model.eval()


def load_quantized(
    folder: Path,
    device: str,
    rest: "torch.dtype | Literal['auto']",
    *,
    attention: str = "sdpa",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A model folder whose config says that it is quantized.

    Args:
        folder: It.
        device: Any torch device that the method knows.
        rest: Dtype of what is not quantized, and of what is computed; `auto` is what is stored.
        attention: Implementation of attention, as transformers names it.
        trust_remote_code: Run the Python that lies in the folder.

    Raises:
        InputError: As `load_model`.
    """
    quiet_bitsandbytes()
    # Without `dtype`, transformers 4 makes what is not quantized float16, whatever it is stored in.
    options = {"dtype": rest, "attn_implementation": attention, "trust_remote_code": trust_remote_code}
    # Quantized weights are laid out for their device as they are read, and refuse to move.
    return _from_pretrained(folder, folder.name, {**options, "device_map": {"": device}}).eval()


def _dtype_beside_quantized(device: str) -> "torch.dtype | Literal['auto']":
    """As stored; or in float32 where a product of bfloat16 takes 60 times the time, as it did on an AMD EPYC (25/1/1).

    The numbers are the same ones there, and their sums are rounded less.
    """
    return "auto" if torch.device(device).type != "cpu" or _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16 that torch would use."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_quantized(folder: Path) -> bool:
    """Whether a model folder says of itself that its weights are in few bits."""
    path = folder / "config.json"
    return path.is_file() and "quantization_config" in json.loads(path.read_text(encoding="utf-8"))


def quiet_bitsandbytes() -> None:
    """Drop two warnings of bitsandbytes that say nothing of this model; before its import, which gives one."""
    for name in _NOISE:
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(tuple(_NOISE.values()))


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, always with an end token and a padding token."""
    return open_tokenizer(folder, trust_remote_code=trust_remote_code)


def read_weights(
    folder: Path,
    gguf_file: str | None = None,
    *,
    dtype: "torch.dtype | Literal['auto']",
    attention: str = "sdpa",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model as it is stored, on the CPU; `gguf_file` names a GGUF file in the folder instead.

    Raises:
        InputError: If it cannot be opened, or if weights are missing, which transformers would make up at random.
    """
    options = {
        "gguf_file": gguf_file,
        "dtype": dtype,
        "attn_implementation": attention,
        "trust_remote_code": trust_remote_code,
    }
    return _from_pretrained(folder, gguf_file or folder.name, options)


def _from_pretrained(folder: Path, name: str, options: dict[str, Any]) -> PreTrainedModel:
    """Open weights with transformers' own options; `name` is what an error calls them."""
    try:
        # Progress bars that transformers gives no switch for.
        with redirect_stderr(io.StringIO()):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(f"cannot load the weights of {name}: {error}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{name} lacks {len(missing)} of the weights that its config asks for, {missing[0]} among them: "
            "the files of two models may be mixed; fetch it again"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model folder, the same bytes for the same weights wherever they came from."""
    _settle_special_tokens(model, tokenizer)
    # Names of folders and GGUF fields that the model was read from.
    model.config.__dict__.pop("_model_name_or_path", None)
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=ONE_FILE)
    tokenizer.save_pretrained(folder)
    # safetensors writes for the owner's eyes only; a package is read by another account.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def count_parameters(model: torch.nn.Module) -> int:
    """Weights of a model; those shared by embedding and output head count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _settle_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Make config and generation config agree with the tokenizer, and drop sampling defaults."""
    for role, token in tokenizer.special_tokens_map.items():
        if isinstance(token, str):
            # A tokenizer that was read from disk would otherwise be written in other words than a new one.
            setattr(tokenizer, role, token)
    ends = sorted({tokenizer.eos_token_id, *_as_list(_stated_ends(model))})
    config: Any = model.config
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, ends[0] if len(ends) == 1 else ends
    # As padding_idx of the embedding, an end token that also pads would get no gradient.
    config.pad_token_id = None if tokenizer.pad_token_id in ends else tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _stated_ends(model: PreTrainedModel) -> Any:
    stated = getattr(model.generation_config, "eos_token_id", None)
    return model.config.eos_token_id if stated is None else stated


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
