"""Which precision this device trains faster in: timed once, and remembered by the store."""

import json
import time
from pathlib import Path

import torch

from stillhouse.recipe.compute import Precision
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs

_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
_WORTH_IT = 1.2
"""bf16 must be this much faster: below it, fp32's exactness is the better buy."""
_STEPS = 5
_LEAST_SECONDS = 0.4
"""Steps at least, and how long they are made for at least."""
_TOKENS, _FEW_TOKENS = 1024, 64
_HOPELESS = 8.0
"""A processor without bf16 arithmetic (AMD EPYC 25/1) takes 15 times fp32's time for few tokens and 60 times for many:
five steps of them were 12 seconds before every first run. The bound is wide, as with few tokens conversions count."""


class ProbeSettings(Settings):
    """What the answer depends on, besides the library versions that are in every key."""

    device: str
    """A torch device."""
    device_name: str
    """Model of the processor or accelerator."""
    threads: int
    """CPU threads."""


def probe_precision(settings: ProbeSettings, inputs: Inputs, folder: Path) -> None:
    """Time a linear layer forward and backward in fp32 and in bf16 autocast, and write which to train in."""
    del inputs
    torch.set_num_threads(settings.threads)
    few = {name: _seconds_per_token(settings.device, name, _FEW_TOKENS, 0.0) for name in _PRECISIONS}
    timed = _PRECISIONS if few["bf16"] < _HOPELESS * few["fp32"] else ("fp32",)
    seconds = few | {name: _seconds_per_token(settings.device, name, _TOKENS, _LEAST_SECONDS) for name in timed}
    faster = seconds["fp32"] / seconds["bf16"]
    precision: Precision = "bf16" if faster >= _WORTH_IT else "fp32"
    # Forward and backward of one 1024 x 1024 layer are three products.
    speed = {name: round(3 * 2 * 1024**2 / 1e9 / value, 1) for name, value in seconds.items()}
    facts = {"precision": precision, "bf16_speed_over_fp32": round(faster, 3), "gigaflops_per_second": speed}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _seconds_per_token(device: str, precision: Precision, num_tokens: int, least_seconds: float) -> float:
    """Seconds a token of the fastest step over one 1024 x 1024 layer.

    Steps are made for a while, because among many there is one that other work on the machine let alone.
    """
    layer = torch.nn.Linear(1024, 1024, bias=False, device=device)
    tokens = torch.randn(num_tokens, 1024, device=device, requires_grad=True)
    best, steps, began = float("inf"), 0, time.perf_counter()
    while steps < _STEPS or time.perf_counter() - began < least_seconds:
        steps += 1
        started = time.perf_counter()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            loss = layer(tokens).float().square().mean()
        loss.backward()
        # `.item()` waits for an accelerator to finish.
        loss.item()
        best = min(best, time.perf_counter() - started)
    return best / num_tokens
