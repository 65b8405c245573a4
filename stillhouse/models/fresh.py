"""A student with random weights: the teacher's architecture with other sizes, or another architecture."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from stillhouse.errors import InputError
from stillhouse.models.load import count_parameters, load_tokenizer, save_model
from stillhouse.models.tokenizer import tokenizer_folder
from stillhouse.recipe.settings import Settings
from stillhouse.recipe.student import Fresh
from stillhouse.store.artifact import FACTS, Inputs

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "feed_forward_size": "intermediate_size",
    "attention_heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
}
"""What transformers calls the sizes of a recipe."""
_NOT_TAKEN = (
    "model_type",
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "quantization_config",
    "layer_types",
)
"""What a config says of the weights that it came with, a list with an entry for each layer, and its type."""


class FreshStudentSettings(Settings):
    """Which architecture and sizes, and the seed of the weights."""

    student: Fresh
    """The sizes, or a config; never the path of one, which preflight has read."""
    seed: int
    """Decides the weights."""


def make_fresh_student(settings: FreshStudentSettings, inputs: Inputs, folder: Path) -> None:
    """Write a model folder with random weights and the tokenizer of `inputs["teacher"]`, or `inputs["tokenizer"]`.

    With the teacher's the vocabulary has as many rows as its model, which may be padded to more than its tokenizer has
    tokens.

    Raises:
        InputError: As `fresh_config`.
    """
    teacher = AutoConfig.from_pretrained(inputs["teacher"], local_files_only=True)
    tokenizer = load_tokenizer(tokenizer_folder(inputs))
    own_tokens = len(tokenizer) if "tokenizer" in inputs else None
    config: Any = fresh_config(settings.student, teacher, "the teacher", own_tokens)
    model = _drawn(config, settings.seed)
    _end_as(model, tokenizer, teacher if own_tokens is None else None)
    save_model(model, tokenizer, folder)
    facts = {
        "parameters": count_parameters(model),
        "layers": config.num_hidden_layers,
        "architecture": config.model_type,
        "vocabulary_size": config.vocab_size,
        "tokenizer_tokens": len(tokenizer),
        "seed": settings.seed,
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def fresh_config(asked: Fresh, teacher: PretrainedConfig, name: str, own_tokens: int | None = None) -> PretrainedConfig:
    """The config of a fresh student, with the teacher's vocabulary or its own.

    Args:
        asked: Sizes or a config; its path has been read.
        teacher: The teacher's config.
        name: What an error calls the teacher.
        own_tokens: Tokens of a tokenizer of the student's own.

    Raises:
        InputError: If transformers knows no causal language model of that type, if the config does not fit it, or if
            its vocabulary is another one than the teacher's.
    """
    assert not isinstance(asked.config, str)
    told: Any = teacher
    rows = own_tokens or told.get_text_config(decoder=True).vocab_size
    if asked.config is not None:
        content = dict(asked.config)
        kind = content.pop("model_type")
        stated = content.setdefault("vocab_size", rows)
        # An architecture's own padding token may lie beyond this vocabulary.
        content.setdefault("pad_token_id", None)
    else:
        content = _resized(asked, teacher, name)
        kind = teacher.model_type
        if own_tokens is not None:
            # Tokens of the teacher's have other numbers here; what is saved gets those of the tokenizer.
            content |= {"vocab_size": rows, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
        stated = content["vocab_size"]
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"student.config.model_type is {kind!r}, which is no causal language model in transformers: students "
            "continue a text (llama, qwen3, gpt2 and their like)"
        )
    if stated != rows:
        reason = "padding included, and their distributions are compared place by place"
        whose = f"{name} predicts {rows} tokens, {reason}" if own_tokens is None else f"its tokenizer has {rows} tokens"
        raise InputError(f"student.config.vocab_size is {stated}, but {whose}; leave it out")
    try:
        return AutoConfig.for_model(kind, **content)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"student.config is no config of {kind!r}: {error}") from None


def _resized(asked: Fresh, teacher: PretrainedConfig, name: str) -> dict[str, Any]:
    """The teacher's config with other sizes; a head stays as wide as it is."""
    if teacher.get_text_config(decoder=True) is not teacher:
        raise InputError(f"{name} reads more than text, so sizes do not say which part is meant; give student.config")
    content = {key: value for key, value in teacher.to_dict().items() if key not in _NOT_TAKEN}
    unknown = sorted(size for size in asked.sizes if not hasattr(teacher, _KEYS[size]))
    if unknown:
        raise InputError(f"a {teacher.model_type!r} has no {', '.join(unknown)}; give the whole of student.config")
    # GPT-2 and others have names of their own, which the usual ones stand for.
    names = teacher.attribute_map
    content |= {names.get(_KEYS[size], _KEYS[size]): value for size, value in asked.sizes.items()}
    heads, shared = content.get("num_attention_heads"), content.get("num_key_value_heads")
    if heads and shared and heads % shared:
        raise InputError(
            f"{heads} query heads cannot share {shared} key/value heads; let student.attention_heads be a multiple of "
            "student.key_value_heads"
        )
    if heads and shared and content["hidden_size"] % heads:
        raise InputError(
            f"student.hidden_size is {content['hidden_size']} with {heads} query heads, and must be a multiple of "
            f"their number; take a multiple of {heads}, or other student.attention_heads"
        )
    if "head_dim" in content:
        told: Any = teacher
        content["head_dim"] = told.head_dim or told.hidden_size // told.num_attention_heads
    return content


def _drawn(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """A model with random weights; transformers draws them from torch's own generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def _end_as(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, teacher: Any | None) -> None:
    """Let the model end a text where its teacher does, not where others of its architecture do.

    With a tokenizer of its own (`teacher` is `None`) it ends where that one says.
    """
    stated = None if teacher is None else teacher.eos_token_id
    ends = stated if stated is not None else tokenizer.eos_token_id
    config: Any = model.config
    config.eos_token_id = ends
    assert model.generation_config is not None
    model.generation_config.eos_token_id = ends
