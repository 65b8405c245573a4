"""What is timed: one variant in one fresh process that holds nothing else."""

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.variant import prepare
from stillhouse import progress
from stillhouse.machine import peak_memory_bytes
from stillhouse.serving.language_model import LanguageModel

PROMPT_SEED = 0


def measure(payload: dict[str, Any]) -> dict[str, Any]:
    """Open the variant, generate with it, then open it again and again.

    Peak memory is read before the second opening: what the allocator keeps of the first would count twice.

    Args:
        payload: `variant` (folder), `threads`, `device`, `vocabulary_size`, `prompt_tokens`, `new_tokens`,
            `warmup`, `repeats` and `loads`.

    Returns:
        Raw samples: `imports_memory_bytes`, `peak_memory_bytes`, `load_seconds` [loads], the first of them in
        a cold process, `time_to_first_token_ms` [repeats], `inter_token_latency_ms` [repeats][new_tokens - 1].
    """
    opener = prepare(Path(payload["variant"]), threads=payload["threads"], device=payload["device"])
    imports_memory_bytes = peak_memory_bytes()
    started = time.perf_counter()
    model = opener()
    load_seconds = [time.perf_counter() - started]
    generator = np.random.default_rng(PROMPT_SEED)
    prompt = generator.integers(payload["vocabulary_size"], size=payload["prompt_tokens"]).tolist()
    rounds = []
    for done in range(payload["warmup"] + payload["repeats"]):
        progress.step("times the variant", done, payload["warmup"] + payload["repeats"])
        rounds.append(_time_tokens(model, prompt, payload["new_tokens"]))
    timed = rounds[payload["warmup"] :]
    peak = peak_memory_bytes()
    del model
    while len(load_seconds) < payload["loads"]:
        gc.collect()
        started = time.perf_counter()
        opener()
        load_seconds.append(time.perf_counter() - started)
    return {
        "imports_memory_bytes": imports_memory_bytes,
        "peak_memory_bytes": peak,
        "load_seconds": load_seconds,
        "time_to_first_token_ms": [times[0] for times in timed],
        "inter_token_latency_ms": [times[1:] for times in timed],
    }


def _time_tokens(model: LanguageModel, prompt: list[int], new_tokens: int) -> list[float]:
    """Return the milliseconds to each new token from the one before it; to the first, from the call."""
    moments = [time.perf_counter()]
    model.generate_with_margins(
        prompt, max_new_tokens=new_tokens, on_token=lambda token: moments.append(time.perf_counter())
    )
    return [1000 * (end - start) for start, end in zip(moments, moments[1:], strict=False)]
