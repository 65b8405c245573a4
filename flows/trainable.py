"""What a training refuses of its teachers and student, asked of their configs before anything is made."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PretrainedConfig

from stillhouse.errors import InputError
from stillhouse.models.fresh import fresh_config
from stillhouse.models.gguf import read_header
from stillhouse.models.refit import check_blocks
from stillhouse.models.shape import ModelShape
from stillhouse.models.sources import config_of
from stillhouse.recipe.recipe import Recipe
from stillhouse.recipe.source import Source
from stillhouse.recipe.student import ExistingModel, Fresh, TrainedTokenizer
from stillhouse.training.adapters import check_layers
from stillhouse.training.features import check_sizes, layer_map
from stillhouse.training.packed_attention import check_packable


def check_reader(source: Source, sequence_length: int, *, trust_remote_code: bool) -> None:
    """Refuse a model that cannot read several texts in a row.

    Args:
        source: Where it lies.
        sequence_length: Tokens in a row.
        trust_remote_code: Whether its own Python may run.

    Raises:
        InputError: Naming what was seen of it.
    """
    check_packable(_config(source, trust_remote_code), source.name, sequence_length)


def check_writer(source: Source, *, trust_remote_code: bool) -> None:
    """Refuse a model that cannot answer several prompts side by side, the shorter ones filled up.

    Args:
        source: Where it lies.
        trust_remote_code: Whether its own Python may run.

    Raises:
        InputError: Naming its architecture.
    """
    config = _config(source, trust_remote_code)
    # Of code of its own nothing is known.
    known = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)] if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else None
    # RecurrentGemma does not say so of itself.
    if getattr(known, "_is_stateful", False) or config.model_type == "recurrent_gemma":
        raise InputError(
            f"{source.name} ({config.model_type}) has a state that is handed from token to token, and prompts are "
            "answered side by side, where what fills up a shorter one may get into it; take a teacher whose layers "
            "all are attention under a mask"
        )


def check_student(recipe: Recipe, teacher: Source, own: Source | None) -> None:
    """Refuse a student that cannot read several texts in a row, be refitted, or take the adapters that are asked for.

    Args:
        recipe: Of its training, with a config that it names read.
        teacher: Where the teacher lies, as which a pruned student reads.
        own: Where the student lies, where it exists.

    Raises:
        InputError: Naming what was seen of it.
    """
    student, trusted = recipe.student, recipe.teacher.trust_remote_code
    match student:
        case Fresh():
            check_packable(_fresh(student, teacher, trusted), "student.config", recipe.data.sequence_length)
        case ExistingModel(trust_remote_code=own_code):
            assert own is not None
            check_reader(own, recipe.data.sequence_length, trust_remote_code=own_code)
    if recipe.refit is not None:
        config = config_of(teacher, trust_remote_code=trusted)
        if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
            check_blocks(config)
    if recipe.compute.lora is None:
        return
    match student:
        case Fresh():
            config = _fresh(student, teacher, trusted)
        case ExistingModel(trust_remote_code=own_code):
            assert own is not None
            config = config_of(own, trust_remote_code=own_code)
        case _:
            config = config_of(teacher, trust_remote_code=trusted)
    # Of code of its own nothing is run here; the training refuses what does not fit.
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        with torch.device("meta"):
            check_layers(AutoModelForCausalLM.from_config(config), recipe.compute.lora)


def check_features(recipe: Recipe, teacher: ModelShape, student: ModelShape) -> None:
    """Refuse hidden states compared where there are none, through too many dimensions, or fitted to too few tokens.

    Raises:
        InputError: Naming layer, rank or tokens.
    """
    features = recipe.distillation.features
    if features is None:
        return
    layer_map(features, student_blocks=student.layers, teacher_blocks=teacher.layers)
    check_sizes(features, student_width=student.hidden_size, teacher_width=teacher.hidden_size)


def _config(source: Source, trusted: bool) -> Any:
    if source.kind == "gguf" and (kind := read_header(source.path).architecture) in CONFIG_MAPPING:
        # With default sizes: the file's own take seconds to read.
        return AutoConfig.for_model(kind)
    return config_of(source, trust_remote_code=trusted)


def _fresh(student: Fresh, teacher: Source, trusted: bool) -> PretrainedConfig:
    tokens = student.tokenizer.vocabulary if isinstance(student.tokenizer, TrainedTokenizer) else None
    return fresh_config(student, config_of(teacher, trust_remote_code=trusted), teacher.name, tokens)
