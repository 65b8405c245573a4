"""The processes that train together: one by itself, or several that share every step's rows.

Accelerate starts the process group, names this process's place in it and wraps the model; where weights are sharded,
PyTorch's own `fully_shard` does it, because Accelerate shards on accelerators only and this also runs on processors,
where the tests run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from stillhouse.training.objective import Objective


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    number: int
    """Of this process, from 0."""
    count: int
    """Processes in all."""
    accelerator: Accelerator

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and tells of progress."""
        return self.number == 0

    def wrap(self, objective: Objective, sharding: Literal["none", "full"]) -> nn.Module:
        """Make the module average its gradients over all processes, or shard its weights too."""
        if self.count == 1:
            return objective
        if sharding == "none":
            return cast(nn.Module, self.accelerator.prepare_model(objective, device_placement=False))
        for block in blocks_of(objective.student):
            fully_shard(block)
        fully_shard(objective)
        return objective

    def sum(self, values: Tensor) -> Tensor:
        """Add up over processes; every one gets the sum."""
        return cast(Tensor, self.accelerator.reduce(values, "sum"))

    @contextmanager
    def gathering(self, module: nn.Module, *, last: bool) -> Iterator[None]:
        """Leave gradients where they are until the last backward of a step, and exchange them there."""
        if isinstance(module, FSDPModule):
            module.set_requires_gradient_sync(last)
            yield
        elif isinstance(module, DistributedDataParallel) and not last:
            with module.no_sync():
                yield
        else:
            yield

    def leave(self) -> None:
        """Let go of the others."""
        if dist.is_initialized():
            dist.destroy_process_group()


def join(device: str) -> Ranks:
    """Find the others by the variables that torchrun, `accelerate launch` and `stillhouse.training.launch` set.

    Args:
        device: Of the recipe. Several processes on accelerators take one each, by their number on their machine.
    """
    # Accelerate keeps the device of the first training of a process for good; another one may be on another.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    accelerator = Accelerator(cpu=torch.device(device).type == "cpu", mixed_precision="no")
    return Ranks(accelerator.process_index, accelerator.num_processes, accelerator)


def device_of_this_process(device: str) -> str:
    """The device of the recipe; among several processes on accelerators, this process's own."""
    kind = torch.device(device).type
    if kind == "cpu" or "LOCAL_RANK" not in os.environ:
        return device
    return f"{kind}:{os.environ['LOCAL_RANK']}"


def blocks_of(student: nn.Module) -> list[nn.Module]:
    """The longest list of like modules: a decoder's layers, whatever its architecture calls them."""
    lists = [list(module) for module in student.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])
