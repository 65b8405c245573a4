"""Width pruning: the stages that write the teacher with fewer channels and heads, and perhaps fewer layers."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse.freed_memory import freed_memory_kept
from stillhouse.models.activations import measure_importance, measure_norm_factors
from stillhouse.models.decoder import Decoder, Sizes, read_decoder
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.models.narrowing import Kept, choose, narrow
from stillhouse.models.pruning import RANKING, keep_layers, rank_layers, training_batches
from stillhouse.models.widths import plan_widths
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.pruned import DepthAndWidthPruned, WidthPruned
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs
from stillhouse.training.batches import Batch

WIDTHS = "widths.json"
_TEACHER = "the teacher"


class PruneWidthsSettings(Settings):
    """How narrow the student is, and how its channels are chosen."""

    student: WidthPruned
    """Widths or a number of parameters, and tokens to measure on."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Where activations are measured."""


class PruneLayersAndWidthsSettings(Settings):
    """How deep and how narrow the student is, and how its layers and channels are chosen."""

    student: DepthAndWidthPruned
    """Layers and widths or a number of parameters, and tokens to measure on."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Where layers are ranked and activations measured."""


def prune_widths(settings: PruneWidthsSettings, inputs: Inputs, folder: Path) -> None:
    """Keep the channels and heads whose activations are largest, and write the model without the others.

    Inputs are `teacher` and `dataset`. Writes a model folder and `widths.json`, which says what was kept.

    Raises:
        InputError: If the teacher's tensors are not known here, or the widths do not fit it.
    """
    opened = _open_teacher(inputs, settings.compute)
    whole = opened.decoder.sizes
    sizes = plan_widths(settings.student, whole.layers, opened.decoder, _TEACHER)
    _write_student(settings, inputs, folder, opened, sizes, range(whole.layers))


def prune_layers_and_widths(settings: PruneLayersAndWidthsSettings, inputs: Inputs, folder: Path) -> None:
    """Drop the layers whose absence hurts least, and then what is least active in those that are left.

    Inputs are `teacher` and `dataset`. Writes a model folder, `ranking.json` and `widths.json`.

    Raises:
        InputError: As `prune_widths`.
    """
    asked = settings.student
    opened = _open_teacher(inputs, settings.compute)
    sizes = plan_widths(asked, asked.layers, opened.decoder, _TEACHER)
    batches = _batches(settings, inputs, opened, asked.ranking_tokens)
    ranking = rank_layers(opened.model, batches, asked.ranking, sizes.layers)
    (folder / RANKING).write_text(json.dumps(ranking.record()), encoding="utf-8")
    # Without some layers the residual stream is another one, so activations are measured afterwards.
    keep_layers(opened.model, ranking.kept)
    _write_student(settings, inputs, folder, opened, sizes, ranking.kept)


_Settings = PruneWidthsSettings | PruneLayersAndWidthsSettings


@dataclass(frozen=True)
class _Opened:
    """The teacher, ready to be measured."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    decoder: Decoder


def _open_teacher(inputs: Inputs, compute: Compute) -> _Opened:
    torch.set_num_threads(compute.threads)
    model = load_model(inputs["teacher"], device=compute.device, dtype=compute.precision)
    return _Opened(model, load_tokenizer(inputs["teacher"]), read_decoder(model.config, _TEACHER))


def _batches(settings: _Settings, inputs: Inputs, opened: _Opened, num_tokens: int) -> list[Batch]:
    pad_id = opened.tokenizer.pad_token_id
    return training_batches(inputs["dataset"], num_tokens, settings.sequence_length, pad_id, settings.compute)


def _write_student(
    settings: _Settings, inputs: Inputs, folder: Path, opened: _Opened, sizes: Sizes, layers: Sequence[int]
) -> None:
    """Choose what stays of a teacher that has only `layers` left, cut the teacher itself, and save it."""
    asked, whole = settings.student, opened.decoder.sizes
    batches = _batches(settings, inputs, opened, asked.statistics_tokens)
    narrower = sizes.hidden_size < whole.hidden_size
    with freed_memory_kept():
        importance = measure_importance(opened.model, batches, replace(whole, layers=len(layers)), asked.statistic)
        kept = choose(importance, sizes)
        factors = measure_norm_factors(opened.model, batches, kept.hidden) if narrower else None
    # In fp32 and on the CPU, whatever it was measured in.
    pruned = keep_layers(load_model(inputs["teacher"], device="cpu", dtype="fp32"), layers)
    before = opened.decoder.parameters(whole)
    narrow(pruned, kept, sizes, factors)
    save_model(pruned, opened.tokenizer, folder)
    _write_records(folder, whole, sizes, kept, factors)
    stated = asdict(sizes) | {"attention_heads": sizes.attention_heads}
    facts = {
        "parameters": count_parameters(pruned),
        "teacher_parameters": before,
        "kept_layers": list(layers),
        **stated,
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _write_records(folder: Path, whole: Sizes, sizes: Sizes, kept: Kept, factors: Sequence[float] | None) -> None:
    """Write `widths.json`: sizes before and after, every channel and head that was kept, and the norms' factors."""
    record: dict[str, Any] = {
        "teacher": asdict(whole),
        "student": asdict(sizes),
        "kept": asdict(kept),
        "norm_factors": None if factors is None else list(factors),
    }
    (folder / WIDTHS).write_text(json.dumps(record), encoding="utf-8")
