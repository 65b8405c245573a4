"""The A/A noise floor: what two measurements of one and the same variant differ by.

The stage `measure_noise_floor` measures the reference variant a second time after all others were measured, so that
between its two measurements lies the time over which the others were compared, with all that the machine did in it. A
ratio of 1.04 between two variants says nothing where one variant makes 1.05 with itself (Kohavi, Tang and Xu,
Trustworthy Online Controlled Experiments, 2020, chapter 19, on A/A tests).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.efficiency import (
    FILE,
    LATENCIES,
    PARTS,
    EfficiencySettings,
    Samples,
    measure_samples,
    started_seconds,
)
from evaluation.results import Interval
from evaluation.timings import ratio_interval, relative_size
from stillhouse.store.artifact import FACTS, Inputs

RATES = dict(zip(LATENCIES, ("prefill_tokens_per_second", "decode_tokens_per_second"), strict=True))
"""The rate that is one over the median of each latency."""


def measure_noise_floor(settings: EfficiencySettings, inputs: Inputs, folder: Path) -> None:
    """Measure `inputs["variant"]` again, and compare it with itself in `inputs["efficiency"]`.

    Writes `noise_floor.json` (both ratios and their bounds, and the raw samples of the second measurement) and
    `facts.json` (`relative`, as in `evaluation.results.NoiseFloor`).

    Args:
        settings: Those that the first measurement was made with.
        inputs: `variant`, and `efficiency`, what `measure_efficiency` made of it.
        folder: Where to write.
    """
    first = json.loads((inputs["efficiency"] / FILE).read_text(encoding="utf-8"))["samples"]
    second = measure_samples(settings, inputs["variant"])
    ratios = compare_with_itself(first, second, settings.benchmark.headline_prompt_tokens)
    relative = {figure: relative_size(bounds) for figure, bounds in ratios.items()}
    details = {"ratio_intervals": ratios, "samples": second}
    (folder / "noise_floor.json").write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps({"relative": relative}, indent=1) + "\n", encoding="utf-8")


def compare_with_itself(first: Samples, second: Samples, headline_prompt_tokens: int) -> dict[str, Interval]:
    """Return the interval of the ratio of every figure's two measurements, by its path within a variant.

    Memory is one number a process, so its interval is the ratio itself. A rate has the bounds of the time that it is
    one over; a 99th percentile of so few samples has none, and is not told.

    Args:
        first: What `measure_samples` gave.
        second: The same again.
        headline_prompt_tokens: The prompt length whose figures also stand alone.
    """
    peaks = [(each["peak_memory_bytes"], each["imports_memory_bytes"]) for each in (first, second)]
    above = [peak - imports for peak, imports in peaks]
    found = {
        "peak_memory_bytes": _exact(peaks[0][0], peaks[1][0]),
        "peak_memory_above_imports_bytes": _exact(*above),
        "load_seconds": ratio_interval(first["load_seconds"], second["load_seconds"], PARTS["p50"]),
    }
    seconds = [started_seconds(each) for each in (first, second)]
    for name in seconds[0].keys() & seconds[1].keys():
        found[name] = ratio_interval(seconds[0][name], seconds[1][name], PARTS["p50"])
    for path, one, other in _cells(first, second):
        speeds = _speed_ratios(one, other)
        found |= {f"{path}.{name}": bounds for name, bounds in speeds.items()}
        if path == f"by_prompt_tokens.{headline_prompt_tokens}":
            found |= {name: bounds for name, bounds in speeds.items() if name != "peak_memory_bytes"}
    return dict(sorted(found.items()))


def _cells(first: Samples, second: Samples) -> Iterator[tuple[str, Any, Any]]:
    """Every prompt length at every batch size that both measurements have, and its path."""
    for length, timed in first["by_prompt_tokens"].items():
        if length in second["by_prompt_tokens"]:
            yield f"by_prompt_tokens.{length}", timed, second["by_prompt_tokens"][length]
    for size, found in first.get("by_batch_size", {}).items():
        again = second.get("by_batch_size", {}).get(size, {})
        for length, timed in found.get("by_prompt_tokens", {}).items():
            if length in again.get("by_prompt_tokens", {}):
                yield f"by_batch_size.{size}.{length}", timed, again["by_prompt_tokens"][length]


def _speed_ratios(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for name in LATENCIES:
        for part, percent in PARTS.items():
            found[f"{name}.{part}"] = ratio_interval(one[name], other[name], percent)
        low, high = found[f"{name}.p50"]
        found[RATES[name]] = (1 / high, 1 / low)
    found["peak_memory_bytes"] = _exact(one["peak_memory_bytes"], other["peak_memory_bytes"])
    return found


def _exact(one: float, other: float) -> Interval:
    return one / other, one / other
