"""What a block must say where its neighbours are gone: its last linear layer, fitted to the teacher by least squares.

Where layers were cut out, the block before the gap is made to say what the teacher's last block in the gap said; every
block behind it sees other states than it knows, and is made to say what it said in the teacher. ReplaceMe (Shopkhoev et
al., 2025, arXiv:2505.02819) fits one map of D x D to each gap. Here it is the whole matrix of D x I that a block ends
with, of every block from the first gap on, one after the other, each given what the blocks below it really say. Nothing
is added to the model, and no gradient is taken.

B rows, T positions, D features of the residual stream, I inputs of the layer; N positions of text.
"""

import json
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.models.block_passes import Pass, advance, order_of_use, passes_before_blocks
from stillhouse.models.load import count_parameters, load_model, load_tokenizer, save_model
from stillhouse.models.pruning import RANKING, training_batches, transformer_layers
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.refit import Refit
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs
from stillhouse.training.batches import Batch

REFIT = "refit.json"
_FEW_WORDS = 64
_MOST_PARAMETERS = 3 * 10**8


class RefitSettings(Settings):
    """What is fitted, and where."""

    refit: Refit
    """How much text."""
    sequence_length: int
    """Tokens in a packed row."""
    compute: Compute
    """Device, precision, threads, and the seed that decides which rows."""


@dataclass(frozen=True)
class Refitted:
    """What became of one block."""

    layer: int
    """Its number in the teacher."""
    stands_for: int
    """The teacher's block whose output it was fitted to."""
    error_before: float
    """Squared error of its output over the square of the teacher's, mean over the text that it was fitted to; 0 where
    nothing is missing up to it, and it stays bit for bit."""
    error_after: float
    """The same afterwards."""


def refit_layers(settings: RefitSettings, inputs: Inputs, folder: Path) -> None:
    """Write the start with its blocks fitted to the teacher's.

    It needs the memory of teacher and start in fp32, of the text's hidden states in both, and of a square of the last
    layer's inputs in fp64, three times.

    Inputs are `start`, as `prune_layers` wrote it, `teacher` and `dataset`. Writes a model folder, `ranking.json` and
    `refit.json`.

    Raises:
        InputError: If the blocks do not end in a linear layer that is added to what they read.
    """
    compute = settings.compute
    torch.set_num_threads(compute.threads)
    facts = json.loads((inputs["start"] / FACTS).read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(inputs["start"])
    teacher, student = (
        load_model(inputs[name], device=compute.device, dtype="fp32").requires_grad_(False)
        for name in ("teacher", "start")
    )
    length, tokens = settings.sequence_length, settings.refit.tokens
    batches = training_batches(inputs["dataset"], tokens, length, tokenizer.pad_token_id, compute)
    with freed_memory_kept():
        refitted = refit(teacher, student, facts["kept_layers"], batches, settings.refit.penalty, compute)
    (folder / REFIT).write_text(json.dumps([asdict(each) for each in refitted], indent=1) + "\n", encoding="utf-8")
    (folder / RANKING).write_bytes((inputs["start"] / RANKING).read_bytes())
    (folder / FACTS).write_text(json.dumps(facts | _mean_errors(refitted)), encoding="utf-8")
    student.to("cpu")  # type: ignore[arg-type]  # transformers' wrapper hides the signature
    save_model(student, tokenizer, folder)


@torch.no_grad()
def refit(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    kept: Sequence[int],
    batches: Sequence[Batch],
    penalty: float,
    compute: Compute,
) -> list[Refitted]:
    """Fit the student's blocks in place, the first one first.

    Args:
        teacher: Whose blocks the student has some of.
        student: The teacher without the others.
        kept: The number that each of the student's blocks has in the teacher.
        batches: Text.
        penalty: Of a change, over the mean square of the layer's inputs.
        compute: Device and precision.

    Raises:
        InputError: If a block does not end in a linear layer that is added to what it read.
        ArithmeticError: If a model says what is no number.
    """
    above, below = transformer_layers(teacher), transformer_layers(student)
    said = [_text_of(teacher, above, batch, compute) for batch in batches]
    given = [_text_of(student, below, batch, compute) for batch in batches]
    # All of them before the first is fitted: a model may have dense blocks and experts.
    linears = [_last_linear(block, index, given[0], compute) for index, block in enumerate(below)]
    found, reached = [], 0
    for index, (block, linear) in enumerate(zip(below, linears, strict=True)):
        last = kept[index + 1] - 1 if index + 1 < len(kept) else len(above) - 1
        for number in range(reached, last + 1):
            advance(said, above[number], number, compute)
        reached = last + 1
        sums = _sums_of(block, index, linear, given, said, compute)
        found.append(_fit(linear, sums, penalty, Refitted(kept[index], last, sums.error / sums.positions, 0.0)))
        advance(given, block, index, compute)
        progress.step("fits blocks", index + 1, len(below), {"error": found[-1].error_after})
    return found


def check_blocks(config: PretrainedConfig) -> None:
    """Refuse blocks that cannot be fitted, by the first one with random weights; the stage looks at every kind.

    A block of hundreds of millions of weights, and an architecture that cannot be made so shallow, are left to it.

    Args:
        config: Of the teacher, of an architecture that transformers knows.

    Raises:
        InputError: If the block does not end in a linear layer that is added to what it read.
    """
    small = deepcopy(config.get_text_config(decoder=True))
    small.num_hidden_layers, small.vocab_size, small.pad_token_id = 1, _FEW_WORDS, None
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:1]
    small.dtype = torch.float32
    try:
        with torch.device("meta"):
            size = count_parameters(AutoModelForCausalLM.from_config(small, attn_implementation="sdpa"))
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        # Not every architecture can be so small.
        return
    if size > _MOST_PARAMETERS:
        return
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(small, attn_implementation="sdpa").eval()
        ids = torch.arange(8)[None]
        batch = Batch(ids, ids, ids, torch.ones(1, 1, 8, 8, dtype=torch.bool).tril(), (("a text",),))
        compute, layers = Compute(device="cpu", precision="fp32", threads=1, seed=0), transformer_layers(model)
        _last_linear(layers[0], 0, _text_of(model, layers, batch, compute), compute)


def _text_of(model: PreTrainedModel, layers: nn.ModuleList, batch: Batch, compute: Compute) -> Pass:
    """A batch before the first block, in which all that is text counts, prompts too: later positions read them."""
    found = passes_before_blocks(model, layers, batch, compute)
    # A padded position sees itself alone, and no other one sees it; the first of a text is seen.
    sees = batch.attention_mask[:, 0]
    return Pass(found.states, (sees.sum(-1) > 1) | (sees.sum(-2) > 1), found.calls)


def _sums_of(
    block: nn.Module, index: int, linear: nn.Linear, given: Sequence[Pass], said: Sequence[Pass], compute: Compute
) -> "_Sums":
    """How far a block is from what is wanted of it.

    Args:
        block: The student's.
        index: Its number in the student.
        linear: Its last layer.
        given: What it reads.
        said: What the teacher's block said for which it stands.
        compute: Device and precision.
    """
    sums = _Sums.empty(linear)
    for read, target in zip(given, said, strict=True):
        inputs, output = _through(read, block, index, linear, compute)
        wanted = target.states[target.counted].float()
        # Tokens whose states are many times as large, as the first of a text, would else be all that is fitted.
        weight = 1 / wanted.square().sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        sums.add(inputs, wanted - output, weight)
    return sums


def _fit(linear: nn.Linear, sums: "_Sums", penalty: float, found: Refitted) -> Refitted:
    """Change the layer, unless nothing is missing."""
    if not math.isfinite(sums.error):
        raise ArithmeticError(
            f"the start's copy of the teacher's layer {found.layer}, or the teacher's layer {found.stands_for}, says "
            "numbers that are not finite"
        )
    if not sums.error:
        return found
    change = sums.best_change(penalty)
    linear.weight.add_(change.T.to(linear.weight))
    return replace(found, error_after=sums.error_with(change))


def _last_linear(block: nn.Module, index: int, read: Pass, compute: Compute) -> nn.Linear:
    names = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
    order = order_of_use(read, block, index, names, compute)
    if order:
        linear = block.get_submodule(order[-1])
        assert isinstance(linear, nn.Linear)
        exactly, outputs = compute.model_copy(update={"precision": "fp32"}), list[Tensor]()
        once = _say(read, block, index, exactly, linear, lambda _, __, output: outputs.append(output))
        thrice = _say(read, block, index, exactly, linear, lambda _, __, output: 3 * output)
        alone = outputs[-1]
        if alone.shape == once.shape and torch.allclose(once + 2 * alone, thrice, rtol=1e-3, atol=1e-3, equal_nan=True):
            return linear
    raise InputError(
        f"block {index} of the start ({type(block).__name__}) does not end in a linear layer whose output is added to "
        "what the block read, so there is no layer to fit; leave refit out"
    )


def _through(read: Pass, block: nn.Module, index: int, linear: nn.Linear, compute: Compute) -> tuple[Tensor, Tensor]:
    """What the layer is given, [N, I], and what the block says, [N, D], at the positions of text, in fp32."""
    inputs: list[Tensor] = []
    states = _say(read, block, index, compute, linear, lambda _, given, __: inputs.append(given[0]))
    return inputs[-1][read.counted].float(), states[read.counted].float()


def _say(
    read: Pass, block: nn.Module, index: int, compute: Compute, linear: nn.Linear, hook: Callable[..., Tensor | None]
) -> Tensor:
    """What a block says, [B, T, D], while a hook is on one of its layers."""
    handle, through = linear.register_forward_hook(hook), read.copy()
    try:
        advance([through], block, index, compute)
    finally:
        handle.remove()
    return through.states


@dataclass
class _Sums:
    """What the squared error of a layer's output is a function of, for any change of its weight.

    In fp64, for rounding would come back through the inverse; on the processor, for not every accelerator has that.
    """

    inputs: Tensor
    """[I, I] squares of inputs."""
    both: Tensor
    """[I, D] inputs times errors."""
    error: float = 0.0
    positions: int = 0

    @classmethod
    def empty(cls, linear: nn.Linear) -> "_Sums":
        """Of a layer, before anything is counted."""
        inputs, outputs = linear.in_features, linear.out_features
        return cls(torch.zeros(inputs, inputs).double(), torch.zeros(inputs, outputs).double())

    def add(self, inputs: Tensor, error: Tensor, weight: Tensor) -> None:
        """Count N positions: inputs [N, I], errors [N, D], and weight [N, 1] of each."""
        weighted = inputs * weight
        self.inputs += (weighted.T @ inputs).cpu()
        self.both += (weighted.T @ error).cpu()
        self.error += float((weight * error.square()).sum())
        self.positions += len(inputs)

    def best_change(self, penalty: float) -> Tensor:
        """[I, D] the change of the weight, transposed, that lowers the error most, at a price for its size."""
        squares = self.inputs.clone()
        squares.diagonal().add_(penalty * squares.diagonal().mean())
        return torch.cholesky_solve(self.both, torch.linalg.cholesky(squares))

    def error_with(self, change: Tensor) -> float:
        """Mean over positions with the weight so changed."""
        gained = 2 * (change * self.both).sum() - (change * (self.inputs @ change)).sum()
        return (self.error - float(gained)) / self.positions


def _mean_errors(refitted: Sequence[Refitted]) -> dict[str, float]:
    number = max(len(refitted), 1)
    return {
        "refit_error_before": sum(each.error_before for each in refitted) / number,
        "refit_error_after": sum(each.error_after for each in refitted) / number,
    }
