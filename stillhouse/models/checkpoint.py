"""Directories that hold a model, local ones and snapshots of a hub: what is read of them, and what is refused.

Everything here reads names, JSON and headers only; a model of any size is judged in milliseconds, but for
`digest_of_checkpoint`, which reads every byte.
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.models.shape import ModelShape

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)
"""What is read besides weights, where it exists."""
_WORTH_TELLING_BYTES = 2**27
"""A smaller file is hashed before anybody has read that it is."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_names(names: Collection[str], name: str) -> None:
    """Refuse a set of files that is no model with safe weights.

    Raises:
        InputError: If there is no config.json, or no safetensors under the names that transformers reads.
    """
    seen = ", ".join(sorted(names)[:8]) or "nothing"
    if "config.json" not in names:
        hint = "give the .gguf file itself" if any(map(_is_gguf, names)) else "a model directory holds config.json"
        raise InputError(f"{name} has no config.json (it holds {seen}); {hint}")
    if WEIGHTS in names or WEIGHTS_INDEX in names:
        return
    if any(entry.endswith(_PICKLES) for entry in names):
        raise InputError(
            f"{name} has only pickled weights ({seen}), and opening a pickle can run any code: safetensors and GGUF "
            "are read; convert it where you trust it, with save_pretrained(..., safe_serialization=True)"
        )
    raise InputError(f"{name} has no weights: it holds {seen}, and {WEIGHTS} or {WEIGHTS_INDEX} is read")


def check_checkpoint(folder: Path, name: str) -> None:
    """Refuse a directory that cannot be loaded as it is.

    Raises:
        InputError: As `check_names`; or if config.json or a weights file is damaged, a file of weights is missing,
            or the weights are quantized.
    """
    check_names([path.name for path in folder.iterdir()], name)
    config = _read_json(folder / "config.json", name)
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise InputError(
            f"{name} holds weights quantized by {method}, which cannot be trained on or exported from: "
            "give the model they were made from"
        )
    for path in weight_files(folder, name):
        _check_safetensors(path, name)


def weight_files(folder: Path, name: str) -> list[Path]:
    """Files of weights of a directory that has passed `check_names`.

    Raises:
        InputError: If the index is damaged, or names a file that is not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    parts = _read_json(folder / WEIGHTS_INDEX, name).get("weight_map", {})
    paths = [folder / part for part in sorted(set(parts.values()))]
    absent = [path.name for path in paths if not path.is_file()]
    if absent or not paths:
        raise InputError(
            f"{name} lacks weights that its index names ({', '.join(absent) or 'it names none'}): copy it again"
        )
    return paths


def digest_of_checkpoint(folder: Path, name: str, *, trust_remote_code: bool) -> str:
    """SHA-256 over names and contents of all that is read of a directory, and over the licence it states."""
    files = [folder / entry for entry in SMALL_FILES if (folder / entry).is_file()]
    files += weight_files(folder, name)
    files += [folder / WEIGHTS_INDEX] if (folder / WEIGHTS_INDEX).is_file() else []
    files += sorted(folder.glob("*.py")) if trust_remote_code else []
    digest = hashlib.sha256(licence_of_checkpoint(folder).encode())
    for number, path in enumerate(sorted(files)):
        if path.stat().st_size >= _WORTH_TELLING_BYTES:
            progress.step(f"hashing {path.name}", number, len(files))
        with path.open("rb") as content:
            digest.update(f"\0{path.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def licence_of_checkpoint(folder: Path) -> str:
    """Licence in the front matter of README.md, or `not stated`."""
    readme = folder / "README.md"
    if not readme.is_file():
        return "not stated"
    parts = readme.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return "not stated"
    try:
        front_matter = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return "not stated"
    stated = front_matter if isinstance(front_matter, dict) else {}
    named = stated.get("license_name") if stated.get("license") == "other" else None
    return str(named or stated.get("license") or "not stated")


def shape_of_checkpoint(folder: Path, name: str, *, trust_remote_code: bool) -> ModelShape:
    """Size of the model that config.json describes; the weights need not be there.

    Raises:
        InputError: If transformers knows no causal language model of that type.
    """
    return shape_of_config(read_config(folder, name, trust_remote_code), name, trust_remote_code=trust_remote_code)


def shape_of_config(config: "PretrainedConfig", name: str, *, trust_remote_code: bool = False) -> ModelShape:
    """Size of the model that a config describes.

    Raises:
        InputError: If transformers knows no causal language model of that type, or the config does not fit it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except ValueError:
        raise InputError(
            f"{name} is of type {config.model_type!r}, which is no causal language model in transformers: "
            "teachers and students continue a text (Llama, Qwen, GPT-2 and their like)"
        ) from None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text: Any = config.get_text_config(decoder=True)
    try:
        return ModelShape(
            layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            vocabulary_size=text.vocab_size,
            parameters=parameters,
            context_length=text.max_position_embeddings,
        )
    except AttributeError as error:
        raise InputError(f"the config.json of {name} does not state the model's size: {error}") from None


def read_config(folder: Path, name: str, trust_remote_code: bool) -> "PretrainedConfig":
    """The config of a directory.

    Raises:
        InputError: If transformers cannot read it, or would run Python that is not trusted.
    """
    from transformers import AutoConfig

    stated = _read_json(folder / "config.json", name)
    if "auto_map" in stated and not trust_remote_code and not _is_known(stated.get("model_type")):
        raise InputError(
            f"{name} runs Python of its own (auto_map in config.json): read it, then say trust_remote_code: true"
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"{name} has a config.json that transformers cannot read: {first_line}") from None


def _is_known(model_type: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _check_safetensors(path: Path, name: str) -> None:
    """Compare the header, eight bytes of length and then JSON, with the size of the file."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = file.read(header_bytes) if header_bytes <= size_bytes - 8 else b""
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{name}/{path.name} has a broken safetensors header: fetch or copy it again") from None
    expected_bytes = 8 + header_bytes + max(ends, default=0)
    if size_bytes != expected_bytes:
        raise InputError(
            f"{name}/{path.name} is cut short or damaged: it has {size_bytes} bytes, its header speaks of "
            f"{expected_bytes}; fetch or copy it again"
        )


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{name}/{path.name} is not JSON: {error}; fetch or copy it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{name}/{path.name} holds a {type(content).__name__}, not an object; fetch or copy it again")
    return content


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")
