"""The stages that bring a model into the house: any source, one layout."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.models import gguf, hub
from stillhouse.models.checkpoint import check_checkpoint, digest_of_checkpoint, licence_of_checkpoint
from stillhouse.models.gguf_tokenizer import tokenizer_of_gguf
from stillhouse.models.load import count_parameters, load_tokenizer, read_weights, save_model
from stillhouse.models.tokenizer import tokenizer_digest
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import FACTS, Inputs, hash_file

log = logging.getLogger(__name__)


class LoadTeacherSettings(Settings):
    """Which model, for a teacher or for a student that exists already."""

    source: Source
    """Where it lies and what it holds."""
    trust_remote_code: bool = False
    """Run Python that comes with it."""


def load_teacher(settings: LoadTeacherSettings, inputs: Inputs, folder: Path) -> None:
    """Write the teacher as a model folder.

    Weights of a GGUF file are de-quantized to fp32; all others keep the precision they are stored in.

    Raises:
        InputError: If the source cannot be loaded whole.
    """
    _write_model_folder(settings, folder)


def load_student(settings: LoadTeacherSettings, inputs: Inputs, folder: Path) -> None:
    """Write an existing model as the folder that a student starts from, as `load_teacher` does.

    Raises:
        InputError: If the source cannot be loaded whole.
    """
    _write_model_folder(settings, folder)


def _write_model_folder(settings: LoadTeacherSettings, folder: Path) -> None:
    source = settings.source
    _refuse_changed(settings)
    progress.step(f"loading {source.name}")
    if source.kind == "gguf":
        model, tokenizer, said = _from_gguf(source.path)
    else:
        model, tokenizer, said = _from_checkpoint(source, settings.trust_remote_code)
    _refuse_too_small_embedding(model, tokenizer, source.name)
    progress.step(f"writing {source.name}")
    save_model(model, tokenizer, folder)
    facts = said | {
        # Without its folders, which differ from machine to machine.
        "source": source.name if source.kind == "hub" else Path(source.name).name,
        "kind": source.kind,
        "digest": source.digest,
        "parameters": count_parameters(model),
        "layers": model.config.get_text_config(decoder=True).num_hidden_layers,
        "dtype": str(model.dtype).removeprefix("torch."),
        "tokenizer_digest": tokenizer_digest(tokenizer),
        "chat_template": tokenizer.chat_template is not None,
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _refuse_changed(settings: LoadTeacherSettings) -> None:
    """Refuse other files than those that the digest is of, which decides under which key they are stored.

    A hub's are named by their commit.
    """
    source = settings.source
    match source.kind:
        case "gguf":
            same = source.path.is_file() and hash_file(source.path) == source.digest
        case "directory":
            try:
                digest = digest_of_checkpoint(source.path, source.name, trust_remote_code=settings.trust_remote_code)
            except (OSError, InputError):
                digest = "of files that are gone"
            same = digest == source.digest
        case _:
            return
    if not same:
        raise InputError(
            f"{source.name} was changed or removed after this run was planned: {source.path} holds other files than "
            "it did then; start the run again"
        )


def _from_gguf(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict[str, Any]]:
    header = gguf.read_header(path)
    stored = gguf.quantization_of(header)
    quantization = "none" if stored == "none" else f"de-quantized from {stored}: not the original weights"
    model = read_weights(path.parent, path.name, dtype=torch.float32)
    said = {"licence": gguf.licence_of(header), "quantization": quantization}
    return model, tokenizer_of_gguf(header), said


def _from_checkpoint(
    source: Source, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict[str, Any]]:
    path = source.path
    if source.kind == "hub":
        path = hub.snapshot(source.location, source.digest, weights=True)
    check_checkpoint(path, source.name)
    model = read_weights(path, dtype="auto", trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
    return model, tokenizer, {"licence": licence_of_checkpoint(path), "quantization": "none"}


def _refuse_too_small_embedding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    embedding: Any = model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, but the model has embeddings for {rows}: "
            "give the tokenizer that belongs to the model"
        )
