"""Low-rank layers trained one by one to the teacher's (Lillama): a student from little text, without a whole backward.

What is saved, and why. No architecture of transformers holds a linear layer as two factors (DeepSeek's latent
attention has them, with a norm in between), so a folder of factors would need modelling code of its own, and with it
`trust_remote_code` in every later stage and wherever the student is served. The product of the factors is saved
instead, in the teacher's architecture: ONNX export, bitsandbytes and lm-eval open it as any model. So

* the student is a model of bounded rank that computes what its factors compute, and
* it is **not smaller and not faster**: it has every parameter of its teacher. `parameters_if_factorised` in its facts
  is what a runtime would hold that multiplies by one factor after the other. None here does yet;
* the factors are not lost: the SVD of a product has R values above rounding, and `low_rank.json` names each R, so that
  an export which can hold two products in place of one (an ONNX graph can) could make them again;
* a distillation after it trains whole matrices, and the rank is then no longer bounded.
"""

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse import progress
from stillhouse.data.dataset import read_split
from stillhouse.data.packing import pack
from stillhouse.data.splits import SplitName
from stillhouse.errors import InputError
from stillhouse.models.block_passes import Pass, advance, inputs_of, order_of_use, passes_before_blocks
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.models.low_rank_layer import (
    Shown,
    Spectrum,
    choose_ranks,
    decompose,
    low_rank_layer,
    measure_layer,
    spectrum_of,
    train_layer,
)
from stillhouse.models.pruning import transformer_layers
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.training.batches import make_batch, rows_for_step
from stillhouse.training.checkpoint import seed_everything

LOW_RANK = "low_rank.json"
_BATCH_ROWS = 4
"""Packed rows in a forward pass."""


class LowRankSettings(Settings):
    """Which layers become two factors, how they learn, and where."""

    student: LowRank
    """Ranks, layers and training."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Device, precision, threads and seed."""


@dataclass(frozen=True)
class Trained:
    """What became of one layer."""

    name: str
    """Number of the block, and the layer's name in it."""
    rank: int
    """Dimensions of the product."""
    learned: bool
    """Whether training lowered the loss on validation text. If not, the layer is what the SVD gave."""
    loss_before: float
    """Of the SVD alone, on validation text: `layer_loss`, 0.3133 at best."""
    loss_after: float
    """Of what is saved, on the same text."""


def low_rank(settings: LowRankSettings, inputs: Inputs, folder: Path) -> None:
    """Write the teacher with its chosen linear layers cut to a low rank, each trained to say what the teacher's says.

    Bottom first, in the order in which the model runs them, so that a layer can be shown what the finished layers
    below it give. It needs the memory of the model, of one block more, and of the training text's hidden states.

    Inputs are `teacher` and `dataset`. Writes a model folder of the teacher's architecture and number of parameters, in
    fp32, and `low_rank.json`. A killed run goes on after the last finished block, to the same bytes.

    Raises:
        InputError: If the recipe names blocks or layers that the teacher does not have, or its budget is too small.
        Unavailable: If a chosen layer sees only some positions, as experts do.
    """
    compute = settings.compute
    seed_everything(compute.seed, compute.threads)
    model = load_model(inputs["teacher"], device=compute.device, dtype="fp32")
    model.requires_grad_(False)
    tokenizer = load_tokenizer(inputs["teacher"])
    blocks = transformer_layers(model)
    chosen = chosen_linears(blocks, settings.student)
    texts = _Texts(
        _passes(settings, model, inputs["dataset"], "train", tokenizer.pad_token_id),
        _passes(settings, model, inputs["dataset"], "validation", tokenizer.pad_token_id),
    )
    ranks = _ranks(settings, blocks, chosen, texts.train, folder / WORK)
    trained = []
    last = max(chosen)
    for index in range(last + 1):
        trained += _make_block(settings, blocks, index, ranks, texts, folder / WORK)
        progress.step("makes blocks low rank", index + 1, last + 1, _mean_losses(trained))
    facts = {"parameters": count_parameters(model), "layers": len(blocks)}
    _write(blocks, chosen, trained, facts, folder)
    model.to("cpu")  # type: ignore[arg-type]  # transformers' wrapper hides the signature
    save_model(model, tokenizer, folder)


def chosen_linears(blocks: nn.ModuleList, settings: LowRank) -> dict[int, list[str]]:
    """Names of the linear layers to replace, within each block, by the block's number.

    Raises:
        InputError: If the recipe names one that does not exist, or there is none.
    """
    numbers = range(len(blocks)) if settings.blocks == "all" else sorted(set(settings.blocks))
    unknown = [number for number in numbers if number >= len(blocks)]
    if unknown:
        raise InputError(
            f"student.blocks names block {unknown[0]}, and the teacher has blocks 0 to {len(blocks) - 1}: leave it out"
        )
    found = {
        number: [name for name, module in blocks[number].named_modules() if isinstance(module, nn.Linear)]
        for number in numbers
    }
    existing = sorted({_last(name) for names in found.values() for name in names})
    if not existing:
        raise InputError("the teacher's blocks have no layers of type Linear: take another kind of student")
    if settings.linears == "all":
        return found
    absent = sorted(set(settings.linears) - set(existing))
    if absent:
        raise InputError(
            f"student.linears names {absent[0]}, and the teacher's blocks have {', '.join(existing)}: take from these"
        )
    return {number: [name for name in names if _last(name) in settings.linears] for number, names in found.items()}


class _Texts:
    """Text on its way through the teacher's blocks, and through the student's."""

    def __init__(self, train: list[Pass], validation: list[Pass]):
        self.train, self.validation = train, validation
        self.student_train = [each.copy() for each in train]
        self.student_validation = [each.copy() for each in validation]
        self._parted = False

    def advance(self, teacher: nn.Module, student: nn.Module, index: int, compute: Compute) -> None:
        """Send all of it through a block; both ways are one until the first block that differs."""
        self._parted = self._parted or student is not teacher
        for passes, others in ((self.train, self.student_train), (self.validation, self.student_validation)):
            advance(passes, teacher, index, compute)
            if self._parted:
                advance(others, student, index, compute)
            else:
                others[:] = [each.copy() for each in passes]


def _passes(
    settings: LowRankSettings, model: PreTrainedModel, dataset: Path, split_name: SplitName, pad_id: int
) -> list[Pass]:
    """Rows of a split before the first block: those that seed and step 0 would give, up to the recipe's tokens."""
    wanted = settings.student.train_tokens if split_name == "train" else settings.student.validation_tokens
    split = read_split(dataset, split_name)
    rows = pack(split.starts, settings.sequence_length)
    num_rows = min(len(rows), max(1, wanted // settings.sequence_length))
    chosen = rows_for_step(len(rows), 0, num_rows, settings.compute.seed)
    passes = []
    for start in range(0, num_rows, _BATCH_ROWS):
        batch = make_batch(
            split,
            [rows[index] for index in chosen[start : start + _BATCH_ROWS]],
            sequence_length=settings.sequence_length,
            pad_id=pad_id,
            device=settings.compute.device,
        )
        passes.append(passes_before_blocks(model, transformer_layers(model), batch, settings.compute))
    return passes


def _ranks(
    settings: LowRankSettings, blocks: nn.ModuleList, chosen: dict[int, list[str]], train: list[Pass], work: Path
) -> dict[str, int]:
    """The rank of each layer, by number of block and name; remembered for an attempt that goes on."""
    path = work / "ranks.json"
    if path.is_file():
        return {name: int(rank) for name, rank in json.loads(path.read_text(encoding="utf-8")).items()}
    passes = [each.copy() for each in train]
    spectra: dict[str, Spectrum] = {}
    for index, block in enumerate(blocks[: max(chosen) + 1]):
        for name in order_of_use(passes[0], block, index, chosen.get(index, []), settings.compute):
            linear = _linear(block, name)
            inputs = inputs_of(passes, block, index, name, settings.compute)
            spectra[f"{index}.{name}"] = spectrum_of(linear, decompose(linear, inputs))
        advance(passes, block, index, settings.compute)
        progress.step("reads spectra", index + 1, len(blocks))
    ranks = choose_ranks(settings.student.ranks, spectra)
    work.mkdir(parents=True, exist_ok=True)
    _write_whole(path, json.dumps(ranks))
    return ranks


def _make_block(
    settings: LowRankSettings, blocks: nn.ModuleList, index: int, ranks: dict[str, int], texts: _Texts, work: Path
) -> list[Trained]:
    """Replace a block by its low-rank one, and send both kinds of text through to the next."""
    here = [name.partition(".")[2] for name in ranks if name.partition(".")[0] == str(index)]
    teacher, trained = blocks[index], []
    student = deepcopy(teacher) if here else teacher
    path = work / f"block-{index:04d}.safetensors"
    if path.is_file():
        trained = _reopen(path, student)
    elif here:
        order = order_of_use(texts.train[0], teacher, index, here, settings.compute)
        trained = [
            _make_layer(settings, index, name, ranks[f"{index}.{name}"], (teacher, student), texts) for name in order
        ]
        _remember(path, student, trained)
    texts.advance(teacher, student, index, settings.compute)
    blocks[index] = student
    return trained


def _make_layer(
    settings: LowRankSettings, index: int, name: str, rank: int, pair: tuple[nn.Module, nn.Module], texts: _Texts
) -> Trained:
    """Cut a layer of the student's block to its rank, train it, and put the product in its place."""
    teacher, student = pair
    linear, replaced = _linear(teacher, name), _linear(student, name)

    def given(passes: list[Pass], block: nn.Module) -> list[Tensor]:
        return inputs_of(passes, block, index, name, settings.compute)

    of_teacher = given(texts.train, teacher)
    layer = low_rank_layer(linear, decompose(linear, of_teacher), rank)
    which = settings.student.inputs
    train = _shown(linear, of_teacher, given(texts.student_train, student), which)
    validation = _shown(linear, given(texts.validation, teacher), given(texts.student_validation, student), which)
    started, before = layer.product(), measure_layer(layer, validation)
    train_layer(layer, train, settings.student, settings.compute.seed)
    after = measure_layer(layer, validation)
    learned = after < before
    with torch.no_grad():
        replaced.weight.copy_(layer.product() if learned else started)
    return Trained(f"{index}.{name}", rank, learned, before, after if learned else before)


@torch.no_grad()
def _shown(linear: nn.Linear, of_teacher: list[Tensor], of_student: list[Tensor], which: str) -> Shown:
    """Inputs of one kind or both, each with what the teacher's layer says of its own at the same positions."""
    answers = linear(torch.cat(of_teacher))
    match which:
        case "teacher":
            return Shown(torch.cat(of_teacher), answers)
        case "student":
            return Shown(torch.cat(of_student), answers)
        case _:
            return Shown(torch.cat(of_teacher + of_student), torch.cat([answers, answers]))


def _write(
    blocks: nn.ModuleList, chosen: dict[int, list[str]], trained: list[Trained], facts: dict[str, Any], folder: Path
) -> None:
    """The table of layers, and the few numbers that the stage says of its result."""
    names = [(index, name) for index, every in chosen.items() for name in every]
    shapes = {f"{index}.{name}": tuple(_linear(blocks[index], name).weight.shape) for index, name in names}
    saved = sum(math.prod(shapes[each.name]) - each.rank * sum(shapes[each.name]) for each in trained)
    (folder / LOW_RANK).write_text(json.dumps([asdict(each) for each in trained], indent=1) + "\n", encoding="utf-8")
    facts |= {
        "parameters_if_factorised": facts["parameters"] - saved,
        "saved_as": "product of the factors: as large and as fast as the teacher",
        "low_rank_layers": len(trained),
        "whole_layers": len(shapes) - len(trained),
        "layers_that_learned": sum(each.learned for each in trained),
        "ranks": {each.name: each.rank for each in trained},
        **_mean_losses(trained),
    }
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _mean_losses(trained: Sequence[Trained]) -> dict[str, float]:
    number = max(len(trained), 1)
    return {
        "local_loss_before": sum(each.loss_before for each in trained) / number,
        "local_loss_after": sum(each.loss_after for each in trained) / number,
    }


def _remember(path: Path, block: nn.Module, trained: list[Trained]) -> None:
    """Write what was made of a block, complete or not at all."""
    weights = {each.name: _linear(block, each.name.partition(".")[2]).weight.contiguous() for each in trained}
    unfinished = path.with_suffix(".unfinished")
    save_file(weights, unfinished, metadata={"trained": json.dumps([asdict(each) for each in trained])})
    unfinished.replace(path)


@torch.no_grad()
def _reopen(path: Path, block: nn.Module) -> list[Trained]:
    """Put into a block what an earlier attempt made of it."""
    with safe_open(path, framework="pt") as file:
        trained = [Trained(**each) for each in json.loads(file.metadata()["trained"])]
        for each in trained:
            _linear(block, each.name.partition(".")[2]).weight.copy_(file.get_tensor(each.name))
    return trained


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _linear(block: nn.Module, name: str) -> nn.Linear:
    found = block.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def _last(name: str) -> str:
    return name.rpartition(".")[2]
