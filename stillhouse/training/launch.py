"""Several processes that train together: started, listened to, and ended together."""

import contextvars
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from stillhouse import child, progress
from stillhouse.errors import InputError
from stillhouse.recipe.knowledge import Endpoint
from stillhouse.store.artifact import WORK, Inputs
from stillhouse.training import rank
from stillhouse.training.trainer import DistillSettings


def train_in_several(settings: DistillSettings, inputs: Inputs, folder: Path) -> None:
    """Train in as many processes as the recipe says, on this machine; progress is the first one's.

    Each is told its place by the variables that torchrun sets. The order of work is left as `order.json` beside the
    checkpoints, for `torchrun -m stillhouse.training.rank` on several machines that share the folder.

    Raises:
        InputError: If this machine has fewer accelerators than processes, each of which takes one.
        ChildError: If one of them fails; the others are ended.
    """
    count = settings.training.processes
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    told = settings.model_dump(mode="json")
    if isinstance(settings.knowledge, Endpoint):
        # What is in no key is not in the dump either, and every process asks for itself.
        told["knowledge"] |= settings.knowledge.reached()
    payload = {
        "settings": told,
        "inputs": {name: str(path) for name, path in inputs.items()},
        "folder": str(folder),
    }
    (work / rank.ORDER).write_text(json.dumps(payload), encoding="utf-8")
    _refuse_too_few_cards(settings.compute.device, count, work / rank.ORDER)
    together, port = child.Together(), str(_free_port())

    def run(number: int) -> dict[str, Any]:
        place = {
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        return child.run(
            f"{rank.__name__}:train_as_rank",
            payload,
            threads=max(1, settings.compute.threads // count),
            environment={**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            together=together,
        )

    with ThreadPoolExecutor(count) as pool:
        # All in this context, which counts their memory; of their progress the first one's alone is told.
        futures = [pool.submit(contextvars.copy_context().run, run, 0)]
        futures += [pool.submit(contextvars.copy_context().run, _silently, run, number) for number in range(1, count)]
        try:
            for future in as_completed(futures):
                # The first to end badly is the cause; what the others then say is of its absence.
                future.result()
        except BaseException:
            # Also a cancellation, which reaches this thread alone: the pool would wait for the others to finish.
            together.end()
            raise


def _silently(work: Callable[[int], dict[str, Any]], number: int) -> dict[str, Any]:
    with progress.unheard():
        return work(number)


def _refuse_too_few_cards(device: str, processes: int, order: Path) -> None:
    kind = torch.device(device).type
    if kind == "cpu":
        return
    cards = torch.get_device_module(kind).device_count()
    if cards < processes:
        raise InputError(
            f"compute.processes is {processes}, and each takes a {kind} device of its own, of which this machine has "
            f"{cards}: lower it, or train on several machines that share this folder with `torchrun --nnodes ... -m "
            f"{rank.__name__} {order}`, and run the recipe again"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
