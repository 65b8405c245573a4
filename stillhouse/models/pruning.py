"""Depth pruning by measurement: the layers that go are those whose absence hurts least."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse import progress
from stillhouse.data.dataset import read_split
from stillhouse.data.packing import pack
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.pruned import DepthPruned, Ranking
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs
from stillhouse.training.batches import Batch, make_batch, rows_for_step

RANKING = "ranking.json"


class PruneSettings(Settings):
    """How deep the student is, and how its layers are chosen."""

    student: DepthPruned
    """Layers to keep and tokens to measure on."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Where the ranking is measured."""


def prune_layers(settings: PruneSettings, inputs: Inputs, folder: Path) -> None:
    """Rank the teacher's layers by the loss of dropping each, and write the model without the last ones.

    Of SmolLM2-135M, every second layer starts a half-depth student at a perplexity near a million, the layers with
    the most block influence at 25,000, `drop_one` near 250. Measured on training rows only.

    Inputs are `teacher` and `dataset`. Writes a model folder and `ranking.json`.
    """
    compute, asked = settings.compute, settings.student
    torch.set_num_threads(compute.threads)
    model = load_model(inputs["teacher"], device=compute.device, dtype=compute.precision)
    tokenizer = load_tokenizer(inputs["teacher"])
    batches = training_batches(
        inputs["dataset"], asked.ranking_tokens, settings.sequence_length, tokenizer.pad_token_id, compute
    )
    ranking = rank_layers(model, batches, asked.ranking, asked.layers)
    (folder / RANKING).write_text(json.dumps(ranking.record()), encoding="utf-8")
    before = count_parameters(model)
    del model
    pruned = keep_layers(load_model(inputs["teacher"], device="cpu", dtype="fp32"), ranking.kept)
    save_model(pruned, tokenizer, folder)
    facts = {
        "parameters": count_parameters(pruned),
        "teacher_parameters": before,
        "layers": len(ranking.kept),
        "kept_layers": ranking.kept,
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


@dataclass(frozen=True)
class LayerRanking:
    """Which layers stay, and what was measured to choose them."""

    method: Ranking
    kept: list[int]
    """Numbers of the layers that stay, in their order of depth."""
    baseline_loss: float
    """Of the whole teacher, in nats per counted token."""
    loss_without_layer: list[float]
    """Of the whole teacher without each layer."""
    removed: list[tuple[int, float]]
    """For `greedy`: each layer that went, in that order, and the loss without it and those before it."""

    def record(self) -> dict[str, Any]:
        """What `ranking.json` says."""
        found = {"kept": self.kept, "baseline_loss": self.baseline_loss, "loss_without_layer": self.loss_without_layer}
        rounds = {"removed": [{"layer": layer, "loss": loss} for layer, loss in self.removed]}
        return found | {"method": self.method} | (rounds if self.method == "greedy" else {})


def rank_layers(model: PreTrainedModel, batches: Sequence[Batch], method: Ranking, num_kept: int) -> LayerRanking:
    """Measure which layers the model can do without.

    Args:
        model: The teacher, whole; it is whole again afterwards.
        batches: Tokens to measure on.
        method: `drop_one` measures each layer once, beside all others. `greedy` measures again after each layer that
            goes: two layers that can each be spared may not be spared together.
        num_kept: Layers that stay.
    """
    with freed_memory_kept():
        return _rank(model, batches, method, num_kept)


def _rank(model: PreTrainedModel, batches: Sequence[Batch], method: Ranking, num_kept: int) -> LayerRanking:
    every = list(range(len(transformer_layers(model))))
    rounds = len(every) - num_kept if method == "greedy" else 1
    place = _Place(sum(len(every) - number for number in range(max(rounds, 1))) * len(batches))
    first = _measure_without(model, batches, every, every, place)
    baseline, without = first.whole, first.without
    if method == "drop_one":
        return LayerRanking(method, choose_layers(without, num_kept), baseline, without, [])
    roughly = rounds > 1 and _is_much_faster_in_bf16(model, batches[0])
    left, losses, removed = every, without, list[tuple[int, float]]()
    while len(left) > num_kept:
        if removed:
            losses = _measure_again(model, batches, left, place, roughly=roughly)
        stay = choose_layers(losses, len(left) - 1)
        at = next(index for index in range(len(left)) if index not in stay)
        removed.append((left[at], losses[at]))
        left = [left[index] for index in stay]
    return LayerRanking(method, left, baseline, without, removed)


NEAR_NATS = 0.05
"""What bf16 finds within so many nats of the least is measured again before a layer goes. In the 14 rounds that halve
SmolLM2-135M, bf16 was 0.008 nats off at most where it matters, among the layers within 0.3 of the least."""
_MUCH_FASTER = 1.5
"""Below that, measuring twice does not pay."""


def _measure_again(
    model: PreTrainedModel, batches: Sequence[Batch], left: Sequence[int], place: "_Place", *, roughly: bool
) -> list[float]:
    """Losses without each layer of those `left`; of ones that are far from the least, perhaps infinity.

    Only the layer that hurts least goes. Where bf16 is much faster, it says first which ones may be that, and these
    are measured as they would be without it, so that its rounding, which differs between machines, does not choose.
    """
    everywhere = list(range(len(left)))
    if not roughly:
        return _measure_without(model, batches, left, everywhere, place).without
    with torch.autocast(model.device.type, torch.bfloat16):
        rough = _measure_without(model, batches, left, everywhere, place).without
    least = min((loss for loss in rough if loss == loss), default=inf)
    near = [index for index, loss in enumerate(rough) if not loss > least + NEAR_NATS]
    measured = dict(zip(near, _measure_without(model, batches, left, near, None).without, strict=True))
    return [measured.get(index, inf) for index in everywhere]


def _is_much_faster_in_bf16(model: PreTrainedModel, batch: Batch) -> bool:
    """Whether this machine has it: one pass of each is timed, after one that is not."""
    seconds = []
    for rough in (False, True):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=rough):
            _loss(model, batch)
            started = time.perf_counter()
            _loss(model, batch)
            seconds.append(time.perf_counter() - started)
    return seconds[0] > _MUCH_FASTER * seconds[1]


@dataclass
class _Place:
    """How far a ranking is, for whoever watches."""

    total: int
    done: int = 0

    def say(self, loss: float) -> None:
        self.done += 1
        progress.step("ranks layers", self.done, self.total, {"loss without it": loss})


@dataclass(frozen=True)
class _Measured:
    """Losses in nats per counted token over all batches."""

    whole: float
    """Of a model of some layers."""
    without: list[float]
    """Of the same without each of the layers that were asked about."""


def _measure_without(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    left: Sequence[int],
    asked: Sequence[int],
    place: _Place | None,
) -> _Measured:
    """Losses of a model of the layers `left`, and without each of those at the places `asked` among them.

    What a layer reads is the same whichever of the later ones is missing. So every batch goes through the whole of them
    once, and without each layer only through those behind it: half of the work. One batch's states are held at a time.
    """
    layers = transformer_layers(model)
    whole, sums, count = 0.0, [0.0] * len(asked), 0
    for batch in batches:
        tokens = batch.num_counted
        with _only_layers(layers, left), _outputs_of(layers) as outputs:
            whole += _loss(model, batch) * tokens
        for index, missing in enumerate(asked):
            stay = [each for each in left if each != left[missing]]
            with _only_layers(layers, stay), _going_on_from(layers, missing, outputs):
                loss = _loss(model, batch)
            sums[index] += loss * tokens
            if place is not None:
                place.say(loss)
        count += tokens
    return _Measured(whole / max(count, 1), [each / max(count, 1) for each in sums])


def choose_layers(loss_without_layer: Sequence[float], num_kept: int) -> list[int]:
    """The layers whose absence hurts most, in their order of depth; a NaN counts as hurting most."""
    hurt = [value if value == value else float("inf") for value in loss_without_layer]
    by_hurt = sorted(range(len(hurt)), key=lambda index: (-hurt[index], index))
    return sorted(by_hurt[:num_kept])


def transformer_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The model's stack of blocks.

    Raises:
        ValueError: If the architecture does not keep its blocks in one list.
    """
    depth = model.config.get_text_config(decoder=True).num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of {depth} blocks; depth pruning does not know it")
    return lists[0]


def keep_layers(model: Any, kept: Sequence[int]) -> Any:
    """Cut the model down to the given layers, in place, with a configuration that says so."""
    layers = transformer_layers(model)
    remaining = [layers[index] for index in kept]
    for position, layer in enumerate(remaining):
        parts: list[Any] = list(layer.modules())
        for part in parts:
            # Attention finds its part of the KV cache by this number.
            if hasattr(part, "layer_idx"):
                part.layer_idx = position
    _replace(layers, remaining)
    model.config.num_hidden_layers = len(remaining)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[index] for index in kept]
    return model


def _replace(layers: nn.ModuleList, modules: Sequence[nn.Module]) -> None:
    """Make `modules` the whole content of the list, which the model itself holds on to."""
    while len(layers):
        del layers[len(layers) - 1]
    layers.extend(modules)


@contextmanager
def _only_layers(layers: nn.ModuleList, kept: Sequence[int]) -> Iterator[None]:
    every = list(layers)
    _replace(layers, [every[index] for index in kept])
    try:
        yield
    finally:
        _replace(layers, every)


Output = Tensor | tuple[Any, ...]


@contextmanager
def _outputs_of(layers: nn.ModuleList) -> Iterator[list[Output]]:
    """What each layer gives, filled as the model runs; copies, for a later layer may write into what it is given."""
    outputs: list[Output] = []
    handles = [layer.register_forward_hook(lambda _, __, output: outputs.append(_copy(output))) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _going_on_from(layers: nn.ModuleList, number: int, outputs: Sequence[Output]) -> Iterator[None]:
    """The first layers compute nothing: each gives what the last of them gave before.

    They stay in their places, since some models look up by place what they hand to a layer.
    """
    known = list(layers)[:number]
    for layer in known:
        # An attribute of the object goes before the method of its class.
        layer.forward = lambda *_, **__: _copy(outputs[number - 1])
    try:
        yield
    finally:
        for layer in known:
            del layer.forward


def _copy(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(map(_copy, output))
    return output.clone() if isinstance(output, Tensor) else output


def training_batches(
    dataset: Path, num_tokens: int, sequence_length: int, pad_id: int, compute: Compute
) -> list[Batch]:
    """The training rows that seed and step 0 would give, up to a number of tokens, and at least one row.

    Args:
        dataset: Folder of the data set.
        num_tokens: Tokens to take.
        sequence_length: Tokens in a packed row.
        pad_id: Token of the padding.
        compute: Device and seed.
    """
    split = read_split(dataset, "train")
    rows = pack(split.starts, sequence_length)
    num_rows = min(len(rows), max(1, num_tokens // sequence_length))
    chosen = rows_for_step(len(rows), 0, num_rows, compute.seed)
    groups = [chosen[start : start + 4] for start in range(0, num_rows, 4)]
    return [
        make_batch(
            split,
            [rows[index] for index in group],
            sequence_length=sequence_length,
            pad_id=pad_id,
            device=compute.device,
        )
        for group in groups
    ]


@torch.inference_mode()
def _loss(model: Any, batch: Batch) -> float:
    """Nats per counted token."""
    return cross_entropy(model(**batch.inputs_of(model), use_cache=False).logits, batch.labels).item()
