"""What a GGUF file says of itself: its fields, its tensors, its size and how its weights were quantized.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stillhouse.errors import InputError
from stillhouse.models.shape import ModelShape

EMBEDDING = "token_embd.weight"
UNQUANTIZED = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a GGUF file, without its weights."""

    kind: str
    """Storage type, as `Q4_1` or `F32`."""
    shape: tuple[int, ...]
    """Sizes, innermost first."""

    @property
    def parameters(self) -> int:
        """Weights in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """Fields and tensor list of a GGUF file."""

    name: str
    """The file's name, for messages."""
    fields: dict[str, Any]
    """Every key and its value."""
    tensors: dict[str, TensorEntry]
    """Every tensor by its name."""

    @property
    def architecture(self) -> str:
        """Prefix of the keys that describe the model, as `llama`."""
        return str(self.fields.get("general.architecture"))


def read_header(path: Path) -> GgufHeader:
    """Read everything of a GGUF file but the weights.

    Raises:
        InputError: If the file is not GGUF, is cut short, or holds something that cannot be loaded faithfully.
    """
    state = path.stat()
    return _read_header(path, state.st_size, state.st_mtime_ns)


def quantization_of(header: GgufHeader) -> str:
    """How the weights are stored: `none`, or the type of most of them and that of the embedding if it differs."""
    stored: Counter[str] = Counter()
    for name, tensor in header.tensors.items():
        if name != EMBEDDING:
            stored[tensor.kind] += tensor.parameters
    dominant, embedding = stored.most_common(1)[0][0], header.tensors[EMBEDDING].kind
    if dominant in UNQUANTIZED and embedding in UNQUANTIZED:
        return "none"
    return dominant if embedding == dominant else f"{dominant}, embedding {embedding}"


def licence_of(header: GgufHeader) -> str:
    """Licence that the file states, or `not stated`."""
    return str(header.fields.get("general.license") or "not stated")


def shape_of(header: GgufHeader) -> ModelShape:
    """Size of the model.

    Raises:
        InputError: If a field that says so is absent.
    """
    return ModelShape(
        layers=_count(header, "block_count"),
        hidden_size=_count(header, "embedding_length"),
        vocabulary_size=header.tensors[EMBEDDING].shape[-1],
        parameters=sum(tensor.parameters for tensor in header.tensors.values()),
        context_length=_count(header, "context_length"),
    )


def _count(header: GgufHeader, key: str) -> int:
    value = header.fields.get(f"{header.architecture}.{key}")
    if not isinstance(value, int):
        raise InputError(f"{header.name} has no field {header.architecture}.{key}: it does not describe its model")
    return value


# Reading the token lists takes seconds, and preflight asks for size and tokenizer one after the other.
@lru_cache(maxsize=4)
def _read_header(path: Path, size_bytes: int, modified_ns: int) -> GgufHeader:
    from gguf import GGUFReader

    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise InputError(f"{path.name} is not a GGUF file: it starts with {magic!r}, not with b'GGUF'")
    try:
        reader = GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {
            tensor.name: TensorEntry(tensor.tensor_type.name, tuple(map(int, tensor.shape)))
            for tensor in reader.tensors
        }
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(
            f"{path.name} is cut short or damaged ({size_bytes} bytes; {error}): fetch or copy it again"
        ) from None
    header = GgufHeader(path.name, fields, tensors)
    _refuse_what_cannot_be_loaded(header)
    return header


def _refuse_what_cannot_be_loaded(header: GgufHeader) -> None:
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    if EMBEDDING not in header.tensors:
        raise InputError(f"{header.name} holds no language model: it has no tensor {EMBEDDING}")
    known = sorted(set(GGUF_CONFIG_MAPPING) - {"general", "tokenizer"})
    if header.architecture not in known:
        raise InputError(
            f"{header.name} has architecture {header.architecture!r}, which transformers cannot read from GGUF: "
            f"it can read {', '.join(known)}; give a directory with config.json and safetensors"
        )
    scaling = header.fields.get(f"{header.architecture}.rope.scaling.type", "none")
    # transformers 4.57 drops both without a word, and the model then reads its positions wrongly.
    if scaling != "none" or any(name.startswith("rope_") for name in header.tensors):
        raise InputError(
            f"{header.name} scales its rotary positions, which transformers does not read from GGUF; "
            "give a directory with config.json and safetensors"
        )
