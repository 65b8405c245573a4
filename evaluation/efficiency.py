"""The stage `measure_efficiency`: size, memory, load time and speed of a variant, alone on the machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import PositiveInt

from evaluation import efficiency_child
from evaluation.statistics import bootstrap_median_interval
from stillhouse import child
from stillhouse.errors import InputError
from stillhouse.machine import measuring_alone
from stillhouse.recipe.benchmark import Benchmark
from stillhouse.recipe.settings import Settings
from stillhouse.serving.decoder import context_tokens
from stillhouse.store.artifact import FACTS, MANIFEST, Inputs

SEED = 0
LOADS = 5


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
    """Time `inputs["variant"]` in one fresh process while no other stage runs.

    Writes `efficiency.json` (figures and every raw sample) and `facts.json` (the figures, named as in
    `evaluation.results.VariantFigures`).

    Raises:
        InputError: If the longest prompt and its new tokens do not fit the model's context.
    """
    variant, benchmark = inputs["variant"], settings.benchmark
    config = json.loads((variant / "config.json").read_text(encoding="utf-8"))
    _refuse_beyond_context(benchmark, context_tokens(config))
    payload = {
        "variant": str(variant),
        "threads": settings.threads,
        "device": settings.device,
        "vocabulary_size": config["vocab_size"],
        "loads": LOADS,
        **benchmark.model_dump(),
    }
    with measuring_alone():
        samples = child.run(f"{efficiency_child.__name__}:measure", payload, threads=settings.threads)
    figures = summarize(samples, benchmark.headline_prompt_tokens)
    figures |= {"size_bytes": _size_bytes(variant), "threads": settings.threads}
    details = {"figures": figures, "processor": settings.processor, "samples": samples}
    (folder / "efficiency.json").write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def summarize(samples: dict[str, Any], headline_prompt_tokens: int) -> dict[str, Any]:
    """Reduce raw samples (see `efficiency_child.measure`) to the figures of a variant.

    Medians and not means: one interruption by the system must not decide a figure. Intervals are of the
    medians, drawn over repeats (over openings for the load time).

    Args:
        samples: What the child returned.
        headline_prompt_tokens: The prompt length whose figures also stand alone, outside `by_prompt_tokens`.
    """
    speeds = {length: _speed(int(length), timed) for length, timed in samples["by_prompt_tokens"].items()}
    headline = speeds[str(headline_prompt_tokens)]
    peak = samples["peak_memory_bytes"]
    load_interval = bootstrap_median_interval(samples["load_seconds"], seed=SEED)
    return {
        "peak_memory_bytes": peak,
        "peak_memory_above_imports_bytes": peak - samples["imports_memory_bytes"],
        "load_seconds": float(np.median(samples["load_seconds"])),
        **headline,
        "prompt_tokens": headline_prompt_tokens,
        "by_prompt_tokens": speeds,
        "repeats": headline["time_to_first_token_ms"]["samples"],
        "intervals": {"load_seconds": load_interval, **headline["intervals"]},
    }


def _speed(prompt_tokens: int, timed: dict[str, Any]) -> dict[str, Any]:
    """Reduce the samples of one prompt length, as in `evaluation.results.Speed`."""
    first, later = timed["time_to_first_token_ms"], timed["inter_token_latency_ms"]
    first_interval = bootstrap_median_interval(first, seed=SEED)
    later_interval = bootstrap_median_interval(later, seed=SEED)
    return {
        "time_to_first_token_ms": _percentiles(first),
        "inter_token_latency_ms": _percentiles(later),
        "prefill_tokens_per_second": 1000 * prompt_tokens / float(np.median(first)),
        "decode_tokens_per_second": 1000 / float(np.median(later)),
        "intervals": {
            "time_to_first_token_ms.p50": first_interval,
            "inter_token_latency_ms.p50": later_interval,
            "prefill_tokens_per_second": _rate(first_interval, 1000 * prompt_tokens),
            "decode_tokens_per_second": _rate(later_interval, 1000),
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
