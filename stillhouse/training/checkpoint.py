"""Checkpoints: everything that a training step reads, so that a resumed run is bit for bit the uninterrupted one.

Safetensors and JSON, never pickle. Data order needs no state: it is a function of seed and step.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import Module
from torch.optim import Optimizer

_PREFIX = "step-"
_AVERAGE = "average.safetensors"
_OF = ":"
"""Between a weight's name and the moment that the optimizer keeps of it."""


def save_checkpoint(
    folder: Path,
    step: int,
    module: Module,
    optimizer: Optimizer,
    history: dict[str, Any],
    *,
    average: Module | None = None,
    writes: bool = True,
) -> None:
    """Write the state after `step` optimizer steps; it replaces older ones only when it is complete.

    Args:
        folder: Of all checkpoints.
        step: Optimizer steps made.
        module: What is trained, sharded or whole. Every process that holds a part of it must call this.
        optimizer: Of these weights.
        history: What of the training is in no tensor.
        average: Of the weights over the steps, where one is kept.
        writes: Whether this process is the one that writes.
    """
    weights, moments = whole_weights(module), _whole_moments(module, optimizer)
    if not writes:
        return
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(weights, unfinished / "weights.safetensors")
    save_file(moments, unfinished / "optimizer.safetensors")
    if average is not None:
        save_file(whole_weights(average), unfinished / _AVERAGE)
    (unfinished / "history.json").write_text(json.dumps(history), encoding="utf-8")
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    finished = folder / f"{_PREFIX}{step:08d}"
    shutil.rmtree(finished, ignore_errors=True)
    unfinished.rename(finished)
    for older in _finished(folder)[:-1]:
        shutil.rmtree(older)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a state to go on from."""
    return bool(_finished(folder))


def load_checkpoint(
    folder: Path, module: Module, optimizer: Optimizer, *, average: Module | None = None
) -> tuple[int, dict[str, Any]] | None:
    """Put the newest complete state into module and optimizer; gives its step and history, or `None`."""
    finished = _finished(folder)
    if not finished:
        return None
    newest = finished[-1]
    _set_weights(module, load_file(newest / "weights.safetensors"))
    _set_moments(module, optimizer, load_file(newest / "optimizer.safetensors"))
    if average is not None:
        _set_weights(average, load_file(newest / _AVERAGE))
    history: dict[str, Any] = json.loads((newest / "history.json").read_text(encoding="utf-8"))
    return int(newest.name.removeprefix(_PREFIX)), history


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


def whole_weights(module: Module) -> dict[str, Tensor]:
    """The weights on the processor's side, put together from all processes; each tied tensor under its first name."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            kept[name] = _whole(tensor)
    return kept


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.to("cpu").contiguous()


def _set_weights(module: Module, weights: dict[str, Tensor]) -> None:
    own = module.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(_like(tensor, own[name]))


def _like(whole: Tensor, own: Tensor) -> Tensor:
    """This process's part of a whole tensor, where the other is a part."""
    if isinstance(own, DTensor):
        return distribute_tensor(whole.to(own.device), own.device_mesh, own.placements)
    return whole


def _named_parameters(module: Module, optimizer: Optimizer) -> list[tuple[str, Tensor]]:
    """The optimizer's parameters by name, in its order."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [(names[id(parameter)], parameter) for group in optimizer.param_groups for parameter in group["params"]]


def _whole_moments(module: Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}{_OF}{kind}": _whole(value)
        for name, parameter in _named_parameters(module, optimizer)
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def _set_moments(module: Module, optimizer: Optimizer, moments: dict[str, Tensor]) -> None:
    own = dict(_named_parameters(module, optimizer))
    for key, value in moments.items():
        name, _, kind = key.rpartition(_OF)
        parameter = own[name]
        there = value.to(parameter.device)
        # The count of steps is one number, the same for every process.
        optimizer.state[parameter][kind] = there if kind == "step" else _like(there, parameter)


def seed_everything(seed: int, threads: int) -> None:
    """Fix torch's generator and its thread count, both of which decide bits."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
