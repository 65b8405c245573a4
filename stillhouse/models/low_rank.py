"""Low-rank layers trained one by one to the teacher's (Lillama): a student from little text, without a whole backward.

What is saved, and why. No architecture of transformers holds a linear layer as two factors (DeepSeek's latent
attention has them, with a norm in between), so a folder of factors would need modelling code of its own, and with it
`trust_remote_code` in every later stage and wherever the student is served. The product of the factors is saved
instead, in the teacher's architecture: ONNX export, bitsandbytes and lm-eval open it as any model. So

* the student is a model of bounded rank that computes what its factors compute, and
* it is **not smaller and not faster** than its teacher, or than what that was cut to: it has every parameter.
  `parameters_if_factorised` in its facts is what a runtime would hold that multiplies by one factor after the other.
  None here does yet;
* the factors are not lost: the SVD of a product has R values above rounding, and `low_rank.json` names each R, so that
  an export which can hold two products in place of one (an ONNX graph can) could make them again;
* a distillation after it trains whole matrices, and the rank is then no longer bounded.

Between widths and depths. A teacher that was cut first has blocks and channels left, each of which stood somewhere in
it. A layer of such a student learns what the teacher's layer at its place says, of the channels that are left; shown
what its own lower layers give it, it learns to say so in spite of what is missing below it.
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

from stillhouse import progress
from stillhouse.data.dataset import read_split
from stillhouse.data.packing import pack
from stillhouse.data.splits import SplitName
from stillhouse.errors import InputError
from stillhouse.models.block_passes import advance, inputs_of, order_of_use
from stillhouse.models.load import count_parameters, save_model
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
from stillhouse.models.narrow_students import WIDTHS
from stillhouse.models.pruning import RANKING
from stillhouse.models.side_by_side import Models, Texts, Ways, before_blocks, open_models
from stillhouse.models.standing import Standing
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.low_rank import LowRank
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.training.batches import Batch, make_batch, rows_for_step
from stillhouse.training.checkpoint import seed_everything

LOW_RANK = "low_rank.json"
_SPLITS: tuple[SplitName, ...] = ("train", "validation")
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
    below it give. It needs the memory of the model, of one block more, and of the training text's hidden states; of a
    cut student, that of two models.

    Inputs are `teacher` and `dataset`, and `start`, what the teacher was cut to, where the settings say so. Writes a
    model folder of the teacher's architecture, in fp32, and `low_rank.json`. A killed run goes on after the last
    finished block, to the same bytes.

    Raises:
        InputError: If the recipe names blocks or layers that the student does not have, or its budget is too small.
        Unavailable: If a chosen layer sees only some positions, as experts do.
    """
    compute = settings.compute
    seed_everything(compute.seed, compute.threads)
    models = open_models(inputs, compute.device)
    chosen = chosen_linears(models.student_blocks, settings.student)
    rows = (_rows(settings, inputs["dataset"], split, models.tokenizer.pad_token_id) for split in _SPLITS)
    texts = Texts(*(before_blocks(models, each, compute) for each in rows))
    ranks = _ranks(settings, models, chosen, texts.train, folder / WORK)
    trained = []
    last = max(chosen)
    for index in range(last + 1):
        trained += _make_block(settings, models, index, ranks, texts, folder / WORK)
        progress.step("makes blocks low rank", index + 1, last + 1, _mean_losses(trained))
    student, facts = models.student, _facts_of_start(inputs)
    facts |= {"parameters": count_parameters(student), "layers": len(models.student_blocks)}
    _write(models.student_blocks, chosen, trained, facts, folder)
    for name in (RANKING, WIDTHS):
        if "start" in inputs and (inputs["start"] / name).is_file():
            (folder / name).write_bytes((inputs["start"] / name).read_bytes())
    student.to("cpu")  # type: ignore[arg-type]  # transformers' wrapper hides the signature
    save_model(student, models.tokenizer, folder)


def _facts_of_start(inputs: Inputs) -> dict[str, Any]:
    if "start" not in inputs:
        return {}
    facts: dict[str, Any] = json.loads((inputs["start"] / FACTS).read_text(encoding="utf-8"))
    return facts


def chosen_linears(blocks: nn.ModuleList, settings: LowRank) -> dict[int, list[str]]:
    """Names of the linear layers to replace, within each block, by the block's number.

    Raises:
        InputError: If the recipe names one that does not exist, or there is none.
    """
    numbers = range(len(blocks)) if settings.blocks == "all" else sorted(set(settings.blocks))
    unknown = [number for number in numbers if number >= len(blocks)]
    if unknown:
        raise InputError(
            f"student.blocks names block {unknown[0]}, and the student has blocks 0 to {len(blocks) - 1}: leave it out"
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


def _rows(settings: LowRankSettings, dataset: Path, split_name: SplitName, pad_id: int) -> list[Batch]:
    """Rows of a split: those that seed and step 0 would give, up to the recipe's tokens."""
    wanted = settings.student.train_tokens if split_name == "train" else settings.student.validation_tokens
    split = read_split(dataset, split_name)
    rows = pack(split.starts, settings.sequence_length)
    num_rows = min(len(rows), max(1, wanted // settings.sequence_length))
    chosen = rows_for_step(len(rows), 0, num_rows, settings.compute.seed)
    layout: dict[str, Any] = {"sequence_length": settings.sequence_length, "pad_id": pad_id}
    return [
        make_batch(
            split,
            [rows[index] for index in chosen[start : start + _BATCH_ROWS]],
            **layout,
            device=settings.compute.device,
        )
        for start in range(0, num_rows, _BATCH_ROWS)
    ]


def _ranks(
    settings: LowRankSettings, models: Models, chosen: dict[int, list[str]], train: Ways, work: Path
) -> dict[str, int]:
    """The rank of each layer, by number of block and name; remembered for an attempt that goes on."""
    path = work / "ranks.json"
    if path.is_file():
        return {name: int(rank) for name, rank in json.loads(path.read_text(encoding="utf-8")).items()}
    passes, standing = [each.copy() for each in train.teacher], models.standing
    spectra: dict[str, Spectrum] = {}
    last = standing.blocks[max(chosen)]
    for place, block in enumerate(models.teacher_blocks[: last + 1]):
        if place in standing.blocks:
            index = standing.blocks.index(place)
            for name in order_of_use(passes[0], block, place, chosen.get(index, []), settings.compute):
                given = inputs_of(passes, block, place, name, settings.compute)
                linear = _linear(models.student_blocks[index], name)
                left = [standing.inputs(index, name, each) for each in given]
                spectra[f"{index}.{name}"] = spectrum_of(linear, decompose(linear, left))
        advance(passes, block, place, settings.compute)
        progress.step("reads spectra", place + 1, last + 1)
    ranks = choose_ranks(settings.student.ranks, spectra)
    work.mkdir(parents=True, exist_ok=True)
    _write_whole(path, json.dumps(ranks))
    return ranks


def _make_block(
    settings: LowRankSettings, models: Models, index: int, ranks: dict[str, int], texts: Texts, work: Path
) -> list[Trained]:
    """Replace a block by its low-rank one, and send both kinds of text through to the next."""
    here = [name.partition(".")[2] for name in ranks if name.partition(".")[0] == str(index)]
    place = models.standing.blocks[index]
    teacher, trained = models.teacher_blocks[place], []
    student = deepcopy(models.student_blocks[index]) if here else models.student_blocks[index]
    texts.reach(models.teacher_blocks, place, settings.compute)
    path = work / f"block-{index:04d}.safetensors"
    if path.is_file():
        trained = _reopen(path, student)
    elif here:
        pair = _Pair(teacher, student, models.standing)
        order = order_of_use(texts.train.teacher[0], teacher, place, here, settings.compute)
        trained = [_make_layer(settings, index, name, ranks[f"{index}.{name}"], pair, texts) for name in order]
        _remember(path, student, trained)
    texts.advance(teacher, place, student, index, settings.compute)
    models.student_blocks[index] = student
    return trained


@dataclass(frozen=True)
class _Pair:
    """A block of the teacher, and the student's at its place."""

    teacher: nn.Module
    student: nn.Module
    standing: Standing

    def shown(self, ways: Ways, index: int, name: str, which: str, compute: Compute) -> tuple[list[Tensor], Shown]:
        """What the teacher's layer reads, as far as the student's has it, [N, I] by batch; and what is learned from.

        That has inputs of one kind or both, each with what the teacher's layer says at the same positions.
        """
        place = self.standing.blocks[index]
        read = inputs_of(ways.teacher, self.teacher, place, name, compute)
        with torch.no_grad():
            said = _linear(self.teacher, name)(torch.cat(read))
        answers = self.standing.outputs(index, name, said)
        of_teacher = [self.standing.inputs(index, name, each) for each in read]
        of_student = inputs_of(ways.student, self.student, index, name, compute)
        match which:
            case "teacher":
                return of_teacher, Shown(torch.cat(of_teacher), answers)
            case "student":
                return of_teacher, Shown(torch.cat(of_student), answers)
            case _:
                return of_teacher, Shown(torch.cat(of_teacher + of_student), torch.cat([answers, answers]))


def _make_layer(settings: LowRankSettings, index: int, name: str, rank: int, pair: _Pair, texts: Texts) -> Trained:
    """Cut a layer of the student's block to its rank, train it, and put the product in its place."""
    replaced, which = _linear(pair.student, name), settings.student.inputs
    of_teacher, train = pair.shown(texts.train, index, name, which, settings.compute)
    _, validation = pair.shown(texts.validation, index, name, which, settings.compute)
    layer = low_rank_layer(replaced, decompose(replaced, of_teacher), rank)
    started, before = layer.product(), measure_layer(layer, validation)
    train_layer(layer, train, settings.student, settings.compute.seed)
    after = measure_layer(layer, validation)
    learned = after < before
    with torch.no_grad():
        replaced.weight.copy_(layer.product() if learned else started)
    return Trained(f"{index}.{name}", rank, learned, before, after if learned else before)


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
        "saved_as": "product of the factors: as large and as fast as whole layers",
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
