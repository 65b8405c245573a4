"""Training text on its way through a model, block by block: what each linear layer in a block is given.

B rows, T positions, D features; N counted positions of all B * T.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillhouse.errors import Unavailable
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.compute import Compute
from stillhouse.training.batches import Batch


@dataclass
class Pass:
    """One batch between two blocks."""

    states: Tensor
    """[B, T, D] what the next block reads."""
    counted: Tensor
    """[B, T] boolean."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    """What else the model hands to each block: masks, places, rotations."""

    def copy(self) -> "Pass":
        """The same batch, to be sent through other blocks."""
        return Pass(self.states, self.counted, self.calls)


class _Reached(Exception):  # noqa: N818  # not an error: the layer was reached, and nothing beyond it is needed
    """Ends a forward pass."""


@torch.no_grad()
def passes_before_blocks(model: PreTrainedModel, blocks: nn.ModuleList, batch: Batch, compute: Compute) -> Pass:
    """A batch before the first block, with what the model hands to each block. One forward pass without the head."""
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    first: list[Tensor] = []

    def note(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = dict(named)
        states = positional[0] if positional else given.pop("hidden_states")
        first.append(states) if not first else None
        found.append((positional[1:], given))

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    try:
        body: Any = model.base_model
        with autocast(compute):
            body(**batch.inputs_of(model), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return Pass(first[0], batch.labels != IGNORED, found)


@torch.no_grad()
def advance(passes: Sequence[Pass], block: nn.Module, index: int, compute: Compute) -> None:
    """Send every batch through a block, in place."""
    for each in passes:
        each.states = _run(each, block, index, compute)


@torch.no_grad()
def inputs_of(passes: Sequence[Pass], block: nn.Module, index: int, name: str, compute: Compute) -> list[Tensor]:
    """What a linear layer of the block is given at each batch's counted positions, [N, I] each, at least fp32.

    Raises:
        Unavailable: If the layer does not see every position, as the experts of a mixture.
    """
    found: list[Tensor] = []
    for each in passes:
        with _stopping_at(block.get_submodule(name), found):
            try:
                _run(each, block, index, compute)
            except _Reached:
                pass
        seen = found[-1]
        if seen.shape[:-1] != each.counted.shape:
            raise Unavailable(
                f"{name} in block {index} sees {tuple(seen.shape[:-1])} of the positions {tuple(each.counted.shape)}: "
                "layers that see some tokens only, as experts do, are not made low rank; name others in student.linears"
            )
        found[-1] = seen[each.counted].float()
    return found


@torch.no_grad()
def order_of_use(each: Pass, block: nn.Module, index: int, names: Sequence[str], compute: Compute) -> list[str]:
    """The layers of a block in the order in which it runs them; those that it does not run are left out."""
    order: list[str] = []
    handles = [
        block.get_submodule(name).register_forward_pre_hook(lambda _, __, name=name: order.append(name))
        for name in names
    ]
    try:
        _run(each, block, index, compute)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(order))


def autocast(compute: Compute) -> torch.autocast:
    """The precision of forward passes: fp32, or bf16 over fp32 weights."""
    return torch.autocast(torch.device(compute.device).type, torch.bfloat16, enabled=compute.precision == "bf16")


def _run(each: Pass, block: nn.Module, index: int, compute: Compute) -> Tensor:
    positional, named = each.calls[index]
    with autocast(compute):
        said = block(each.states, *positional, **named)
    states = said[0] if isinstance(said, tuple) else said
    assert isinstance(states, Tensor)
    return states


@contextmanager
def _stopping_at(layer: nn.Module, found: list[Tensor]) -> Iterator[None]:
    def stop(_: nn.Module, positional: tuple[Any, ...]) -> None:
        found.append(positional[0])
        raise _Reached

    handle = layer.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        handle.remove()
