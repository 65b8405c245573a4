"""What is timed: one variant in one fresh process that holds nothing else."""

import gc
import time
from collections.abc import Callable
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
        payload: `variant` (folder), `threads`, `device`, `vocabulary_size`, `prompt_tokens` (lengths),
            `new_tokens`, `warmup`, `repeats` and `loads`.

    Returns:
        Raw samples: `imports_memory_bytes`, `peak_memory_bytes`, `load_seconds` [loads], the first of them in
        a cold process, and `by_prompt_tokens`, for each length as a string `time_to_first_token_ms` [repeats] and
        `inter_token_latency_ms` [repeats][new_tokens - 1].
    """
    opener = prepare(Path(payload["variant"]), threads=payload["threads"], device=payload["device"])
    imports_memory_bytes = peak_memory_bytes()
    model, first_load_seconds = _time_opening(opener)
    rounds = _time_rounds(model, payload)
    peak = peak_memory_bytes()
    del model
    load_seconds = [first_load_seconds]
    while len(load_seconds) < payload["loads"]:
        progress.step("opens the variant again", len(load_seconds), payload["loads"])
        gc.collect()
        load_seconds.append(_time_opening(opener)[1])
    return {
        "imports_memory_bytes": imports_memory_bytes,
        "peak_memory_bytes": peak,
        "load_seconds": load_seconds,
        "by_prompt_tokens": {
            str(length): {
                "time_to_first_token_ms": [times_ms[0] for times_ms in timed],
                "inter_token_latency_ms": [times_ms[1:] for times_ms in timed],
            }
            for length, timed in rounds.items()
        },
    }


def _time_opening(opener: Callable[[], LanguageModel]) -> tuple[LanguageModel, float]:
    """Return the open variant, and how many seconds it took."""
    started = time.perf_counter()
    model = opener()
    return model, time.perf_counter() - started


def _time_rounds(model: LanguageModel, payload: dict[str, Any]) -> dict[int, list[list[float]]]:
    """Return the times of every timed repeat of every prompt length.

    Each round goes through all lengths, so that a slow phase of the machine slows all of them and not one.
    """
    generator = np.random.default_rng(PROMPT_SEED)
    prompts = {
        length: generator.integers(payload["vocabulary_size"], size=length).tolist()
        for length in sorted(set(payload["prompt_tokens"]))
    }
    rounds: dict[int, list[list[float]]] = {length: [] for length in prompts}
    done, total = 0, len(prompts) * (payload["warmup"] + payload["repeats"])
    for _ in range(payload["warmup"] + payload["repeats"]):
        for length, prompt in prompts.items():
            progress.step(f"times a prompt of {length} tokens", done, total)
            rounds[length].append(_time_tokens(model, prompt, payload["new_tokens"]))
            done += 1
    return {length: times[payload["warmup"] :] for length, times in rounds.items()}


def _time_tokens(model: LanguageModel, prompt: list[int], new_tokens: int) -> list[float]:
    """Return the milliseconds to each new token from the one before it; to the first, from the call."""
    moments = [time.perf_counter()]
    model.generate_with_margins(
        prompt, max_new_tokens=new_tokens, on_token=lambda token: moments.append(time.perf_counter())
    )
    return [1000 * (end - start) for start, end in zip(moments, moments[1:], strict=False)]
