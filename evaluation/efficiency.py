"""The stage `measure_efficiency`: size, memory, load time, starts and speed of a variant, alone on the machine."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import PositiveInt

from evaluation import efficiency_child
from evaluation.batch_dependence import LIMIT_NATS
from evaluation.file_cache import DROPPED, drop_from_cache
from evaluation.timings import percentile_interval
from stillhouse import child, progress
from stillhouse.errors import InputError
from stillhouse.machine import measuring_alone
from stillhouse.recipe.benchmark import Benchmark
from stillhouse.recipe.settings import Settings
from stillhouse.serving.decoder import context_tokens
from stillhouse.store.artifact import FACTS, MANIFEST, Inputs

FILE = "efficiency.json"
LOADS = 5
STARTS = ("cold_start_seconds", "warm_start_seconds")
LATENCIES = ("time_to_first_token_ms", "inter_token_latency_ms")
PARTS = {"p50": 50, "p95": 95}
"""Percentiles that have an interval; the 99th of so few samples has none worth the name."""
_WAITING = {"GOMP_SPINCOUNT": "10000"}
"""How long OpenMP's threads spin before they sleep, as `stillhouse` sets it: a worker may have another policy, which
moves the times of torch's variants by a fifth and is in no key."""
Samples = dict[str, Any]
"""What the processes returned: see `measure_samples`."""


class EfficiencySettings(Settings):
    """What is run, and where: times of another processor are other times."""

    benchmark: Benchmark
    """The recipe's section."""
    threads: PositiveInt
    """CPU threads of the benchmark process."""
    device: str
    """A torch device."""
    processor: str
    """Model of the CPU or GPU that is timed."""


def measure_efficiency(settings: EfficiencySettings, inputs: Inputs, folder: Path) -> None:
    """Time `inputs["variant"]` in fresh processes of its own while no other stage runs.

    Writes `efficiency.json` (figures and every raw sample) and `facts.json` (the figures, named as in
    `evaluation.results.Costs`).

    Raises:
        InputError: If the longest prompt and its new tokens do not fit the model's context.
    """
    variant = inputs["variant"]
    samples = measure_samples(settings, variant)
    figures = summarize(samples, settings.benchmark.headline_prompt_tokens)
    figures |= {"size_bytes": _size_bytes(variant), "threads": settings.threads}
    details = {"figures": figures, "processor": settings.processor, "samples": samples}
    (folder / FILE).write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure_samples(settings: EfficiencySettings, variant: Path) -> Samples:
    """Time a variant in fresh processes: one a batch size, and one a start.

    Returns:
        What `efficiency_child.measure` does; `by_batch_size`, for each size beyond 1 what `measure_batch` does, or a
        `reason`; and, where starts are asked, `cold_start_seconds`, `warm_start_seconds` and `still_cached`, the
        largest share of the variant's files that was in the file cache when a cold start began.

    Raises:
        InputError: If the longest prompt and its new tokens do not fit the model's context.
    """
    benchmark = settings.benchmark
    config = json.loads((variant / "config.json").read_text(encoding="utf-8"))
    allowed = context_tokens(config)
    _refuse_beyond_context(benchmark, allowed)
    opened = {"variant": str(variant), "threads": settings.threads, "device": settings.device}
    asked = benchmark.model_dump(include={"prompt_tokens", "new_tokens", "warmup", "repeats"})
    payload = {**opened, **asked, "vocabulary_size": config["vocab_size"], "loads": LOADS, "context_tokens": allowed}
    with measuring_alone():
        samples = _apart("measure", payload, settings.threads)
        samples["by_batch_size"] = {
            str(size): _measure_batch(payload | {"batch_size": size})
            for size in sorted(set(benchmark.batch_sizes) - {1})
        }
        if benchmark.starts:
            prompt = efficiency_child.random_prompt(config["vocab_size"], benchmark.headline_prompt_tokens)
            samples |= _time_starts(opened | {"prompt": prompt}, benchmark.starts)
    return samples


def summarize(samples: Samples, headline_prompt_tokens: int) -> dict[str, Any]:
    """Reduce raw samples to the figures of a variant, as in `evaluation.results.Costs`.

    Medians and not means: one interruption by the system must not decide a figure. Intervals are drawn over repeats
    (over openings for the load time, over processes for the starts).

    Args:
        samples: What `measure_samples` gives.
        headline_prompt_tokens: The prompt length whose figures also stand alone, outside `by_prompt_tokens`.
    """
    speeds = _speeds(samples["by_prompt_tokens"])
    # The headline of memory is that of all lengths together.
    headline = dict(speeds[str(headline_prompt_tokens)])
    del headline["peak_memory_bytes"]
    peak = samples["peak_memory_bytes"]
    starts = started_seconds(samples)
    seconds = {"load_seconds": samples["load_seconds"], **starts}
    return {
        "peak_memory_bytes": peak,
        "peak_memory_above_imports_bytes": peak - samples["imports_memory_bytes"],
        **dict.fromkeys(STARTS),
        **{name: float(np.median(found)) for name, found in seconds.items()},
        "starts": len(samples[STARTS[1]]) if STARTS[1] in samples else None,
        **headline,
        "prompt_tokens": headline_prompt_tokens,
        "by_prompt_tokens": speeds,
        "by_batch_size": {
            size: {"reason": found["reason"]} if "reason" in found else _speeds(found["by_prompt_tokens"], int(size))
            for size, found in samples.get("by_batch_size", {}).items()
        },
        "repeats": headline["time_to_first_token_ms"]["samples"],
        "intervals": {
            **{name: percentile_interval(found, PARTS["p50"]) for name, found in seconds.items()},
            **headline["intervals"],
        },
    }


def started_seconds(samples: Samples) -> dict[str, list[float]]:
    """The times of the starts that were measured; no cold ones where the system kept the files cached."""
    found = {name: samples[name] for name in STARTS if name in samples}
    if samples.get("still_cached", 0.0) > DROPPED:
        del found[STARTS[0]]
    return found


def _measure_batch(payload: dict[str, Any]) -> Samples:
    """Time one batch size; what must not be batched, or does not fit the memory, is told with the reason."""
    try:
        found = _apart("measure_batch", payload, payload["threads"])
    except MemoryError as error:
        return {"reason": f"out of memory: {str(error).splitlines()[0] if str(error) else 'no more is known'}"}
    dependence = found["batch_dependence_nats"]
    if dependence <= LIMIT_NATS:
        return found
    reason = f"not to be batched: beside others an answer's log-probability moves by {dependence:.2g} nats"
    return found | {"reason": f"{reason}, above {LIMIT_NATS:g}"}


def _time_starts(payload: dict[str, Any], starts: int) -> Samples:
    """Start a process again and again, cold and warm in turn: what a cold start reads is cached for the warm one."""
    found: Samples = {name: [] for name in STARTS} | {"still_cached": 0.0}
    for number in range(starts):
        for name in STARTS:
            progress.step(f"starts the variant, {name.partition('_')[0]}", 2 * number + (name == STARTS[1]), 2 * starts)
            if name == STARTS[0]:
                found["still_cached"] = max(found["still_cached"], drop_from_cache(Path(payload["variant"])))
            began = time.monotonic()
            told = _apart("start", payload, payload["threads"])
            found[name].append(told["first_token_at"] - began)
    return found


def _apart(function: str, payload: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run a part of `efficiency_child` in a fresh process, whose threads wait alike wherever this one was started."""
    return child.run(f"{efficiency_child.__name__}:{function}", payload, threads=threads, environment=_WAITING)


def _speeds(timed: dict[str, dict[str, Any]], batch_size: int = 1) -> dict[str, dict[str, Any]]:
    return {length: _speed(batch_size * int(length), found, batch_size) for length, found in timed.items()}


def _speed(prompt_tokens: int, timed: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Reduce the samples of one prompt length, as in `evaluation.results.Speed`.

    Args:
        prompt_tokens: Of all prompts side by side.
        timed: What `efficiency_child` gives of this length.
        batch_size: Prompts side by side.
    """
    first, later = (timed[name] for name in LATENCIES)
    intervals = {
        f"{name}.{part}": percentile_interval(timed[name], percent)
        for name in LATENCIES
        for part, percent in PARTS.items()
    }
    return {
        "time_to_first_token_ms": _percentiles(first),
        "inter_token_latency_ms": _percentiles(later),
        "prefill_tokens_per_second": 1000 * prompt_tokens / float(np.median(first)),
        "decode_tokens_per_second": 1000 * batch_size / float(np.median(later)),
        "peak_memory_bytes": timed["peak_memory_bytes"],
        "intervals": {
            **intervals,
            "prefill_tokens_per_second": _rate(intervals["time_to_first_token_ms.p50"], 1000 * prompt_tokens),
            "decode_tokens_per_second": _rate(intervals["inter_token_latency_ms.p50"], 1000 * batch_size),
        },
    }


def _percentiles(samples_ms: ArrayLike) -> dict[str, float | int]:
    samples = np.ravel(samples_ms)
    p50, p95, p99 = np.percentile(samples, (50, 95, 99)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99, "samples": len(samples)}


def _rate(interval_ms: Sequence[float], tokens_per_second_ms: float) -> tuple[float, float]:
    """Return the interval of a rate, which is highest where the time is lowest."""
    low, high = interval_ms
    return tokens_per_second_ms / high, tokens_per_second_ms / low


def _refuse_beyond_context(benchmark: Benchmark, allowed: int) -> None:
    needed = max(benchmark.prompt_tokens) + benchmark.new_tokens
    if needed > allowed:
        raise InputError(
            f"the benchmark does not fit the model's context: the longest of prompt_tokens + new_tokens is {needed}, "
            f"{allowed} allowed; lower one of them"
        )


def _size_bytes(variant: Path) -> int:
    """Return what ships: every file but the store's manifest and facts."""
    files = (path for path in variant.rglob("*") if path.is_file() and path.name not in (MANIFEST, FACTS))
    return sum(path.stat().st_size for path in files)
