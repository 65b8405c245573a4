"""What is timed: one variant in one fresh process that holds nothing else."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.batch_dependence import LIMIT_NATS, PROBES, measure_batch_dependence
from evaluation.token_scores import Pair, score_pairs
from evaluation.variant import prepare
from stillhouse import progress
from stillhouse.machine import peak_memory_bytes
from stillhouse.serving.language_model import LanguageModel

PROMPT_SEED = 0


class Timed(NamedTuple):
    """What prompts of one length took."""

    times_ms: list[list[float]]
    """`[repeats][new_tokens]`."""
    peak_memory_bytes: int
    """Highest of the process after this length and all shorter ones."""


def measure(payload: dict[str, Any]) -> dict[str, Any]:
    """Open the variant, generate with it a prompt at a time, then open it again and again.

    Peak memory is read before the second opening: what the allocator keeps of the first would count twice.

    Args:
        payload: `variant` (folder), `threads`, `device`, `vocabulary_size`, `prompt_tokens` (lengths),
            `new_tokens`, `warmup`, `repeats` and `loads`.

    Returns:
        Raw samples: `imports_memory_bytes`, `peak_memory_bytes`, `load_seconds` [loads], the first of them in
        a cold process, and `by_prompt_tokens`, for each length as a string `time_to_first_token_ms` [repeats],
        `inter_token_latency_ms` [repeats][new_tokens - 1] and `peak_memory_bytes`.
    """
    opener = prepare(Path(payload["variant"]), threads=payload["threads"], device=payload["device"])
    imports_memory_bytes = peak_memory_bytes()
    model, first_load_seconds = _time_opening(opener)
    rounds = _time_rounds(model, payload, batch_size=1)
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
        "by_prompt_tokens": _told(rounds),
    }


def measure_batch(payload: dict[str, Any]) -> dict[str, Any]:
    """Open the variant and continue several prompts side by side, unless one changes what the others are answered.

    Args:
        payload: As for `measure`, and `batch_size` and `context_tokens`.

    Returns:
        `batch_dependence_nats`, and `by_prompt_tokens` as `measure` gives it: empty where the former is too large.
    """
    folder = Path(payload["variant"])
    model = prepare(folder, threads=payload["threads"], device=payload["device"])()
    dependence = _batch_dependence_nats(model, folder, payload["context_tokens"])
    batched = dependence <= LIMIT_NATS
    rounds = _time_rounds(model, payload, batch_size=payload["batch_size"]) if batched else {}
    return {"batch_dependence_nats": dependence, "by_prompt_tokens": _told(rounds)}


def start(payload: dict[str, Any]) -> dict[str, Any]:
    """Be started, open the variant, give one token and say when: the clock is the system's, the same in the parent.

    Args:
        payload: `variant` (folder), `threads`, `device`, `prompt` (token ids).

    Returns:
        `first_token_at`, seconds of `time.monotonic`.
    """
    moments: list[float] = []
    model = prepare(Path(payload["variant"]), threads=payload["threads"], device=payload["device"])()
    model.generate_with_margins(
        payload["prompt"], max_new_tokens=1, on_token=lambda token: moments.append(time.monotonic())
    )
    return {"first_token_at": moments[0]}


def random_prompt(vocabulary_size: int, length: int) -> list[int]:
    """Tokens that no model has seen in this order; what they are does not change what they cost."""
    return np.random.default_rng(PROMPT_SEED).integers(vocabulary_size, size=length).tolist()


def _batch_dependence_nats(model: LanguageModel, folder: Path, context_tokens: int) -> float:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    spelled = [[tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in probe] for probe in PROBES]
    pairs = [Pair(*probe) for probe in spelled]
    return measure_batch_dependence(lambda some: score_pairs(model, some, context_tokens), pairs)


def _told(rounds: dict[int, Timed]) -> dict[str, dict[str, Any]]:
    return {
        str(length): {
            "time_to_first_token_ms": [times_ms[0] for times_ms in found.times_ms],
            "inter_token_latency_ms": [times_ms[1:] for times_ms in found.times_ms],
            "peak_memory_bytes": found.peak_memory_bytes,
        }
        for length, found in rounds.items()
    }


def _time_opening(opener: Callable[[], LanguageModel]) -> tuple[LanguageModel, float]:
    """Return the open variant, and how many seconds it took."""
    started = time.perf_counter()
    model = opener()
    return model, time.perf_counter() - started


def _time_rounds(model: LanguageModel, payload: dict[str, Any], *, batch_size: int) -> dict[int, Timed]:
    """Return the times of every timed repeat of every prompt length, the shortest first.

    Each round goes through all lengths, so that a slow phase of the machine slows all of them and not one.
    """
    generator = np.random.default_rng(PROMPT_SEED)
    batches = {
        length: generator.integers(payload["vocabulary_size"], size=(batch_size, length)).tolist()
        for length in sorted(set(payload["prompt_tokens"]))
    }
    times: dict[int, list[list[float]]] = {length: [] for length in batches}
    peaks: dict[int, int] = {}
    done, total = 0, len(batches) * (payload["warmup"] + payload["repeats"])
    beside = "a prompt" if batch_size == 1 else f"{batch_size} prompts side by side,"
    for _ in range(payload["warmup"] + payload["repeats"]):
        for length, prompts in batches.items():
            progress.step(f"times {beside} of {length} tokens", done, total)
            times[length].append(_time_tokens(model, prompts, payload["new_tokens"]))
            # Only in the first round has the process not read anything longer yet.
            peaks.setdefault(length, peak_memory_bytes())
            done += 1
    peaks[max(batches)] = peak_memory_bytes()
    return {length: Timed(each[payload["warmup"] :], peaks[length]) for length, each in times.items()}


def _time_tokens(model: LanguageModel, prompts: list[list[int]], new_tokens: int) -> list[float]:
    """Return the milliseconds to each new token from the one before it; to the first, from the call.

    Of a batch, a token is there when the last of the prompts has it.
    """
    moments = [time.perf_counter()]

    def note(token: int) -> None:
        moments.append(time.perf_counter())

    def note_step(row: int, token: int) -> bool:
        if row == len(prompts) - 1:
            note(token)
        return True

    if len(prompts) == 1:
        model.generate_with_margins(prompts[0], max_new_tokens=new_tokens, on_token=note)
    else:
        model.generate_batch(prompts, max_new_tokens=new_tokens, on_step=note_step)
    return [1000 * (end - start) for start, end in zip(moments, moments[1:], strict=False)]
