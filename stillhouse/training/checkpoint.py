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
from torch.nn import Module
from torch.optim import Optimizer

_PREFIX = "step-"


def save_checkpoint(folder: Path, step: int, student: Module, optimizer: Optimizer, history: dict[str, Any]) -> None:
    """Write the state after `step` optimizer steps; it replaces older ones only when it is complete."""
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(_own_memory(student.state_dict()), unfinished / "student.safetensors")
    save_file(_optimizer_tensors(optimizer), unfinished / "optimizer.safetensors")
    (unfinished / "history.json").write_text(json.dumps(history), encoding="utf-8")
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    finished = folder / f"{_PREFIX}{step:08d}"
    shutil.rmtree(finished, ignore_errors=True)
    unfinished.rename(finished)
    for older in _finished(folder)[:-1]:
        shutil.rmtree(older)


def load_checkpoint(folder: Path, student: Module, optimizer: Optimizer) -> tuple[int, dict[str, Any]] | None:
    """Put the newest complete state into student and optimizer; gives its step and history, or `None`."""
    finished = _finished(folder)
    if not finished:
        return None
    newest = finished[-1]
    student.load_state_dict(load_file(newest / "student.safetensors"), strict=False)
    _load_optimizer(optimizer, load_file(newest / "optimizer.safetensors"))
    history: dict[str, Any] = json.loads((newest / "history.json").read_text(encoding="utf-8"))
    return int(newest.name.removeprefix(_PREFIX)), history


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


def _own_memory(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the second name of a tied tensor, which safetensors refuses."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous()
    return kept


def _optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    # PyTorch moves what it loads to the parameters' device and dtype, except `step`, which stays fp32.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def seed_everything(seed: int, threads: int) -> None:
    """Fix torch's generator and its thread count, both of which decide bits."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
