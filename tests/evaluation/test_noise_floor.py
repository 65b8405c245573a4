"""One variant beside itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import efficiency
from evaluation.efficiency import EfficiencySettings, measure_efficiency
from evaluation.noise_floor import compare_with_itself, measure_noise_floor
from evaluation.results import NoiseFloor, VariantFigures
from stillhouse.recipe.benchmark import Benchmark


def samples(factor: float = 1.0, *, peak: int = 400) -> dict[str, Any]:
    """A measurement without any spread, with every time multiplied."""
    timed = {
        "time_to_first_token_ms": [20.0 * factor] * 20,
        "inter_token_latency_ms": [[4.0 * factor, 4.0 * factor]] * 20,
        "peak_memory_bytes": peak,
    }
    return {
        "imports_memory_bytes": 200,
        "peak_memory_bytes": peak,
        "load_seconds": [factor] * 5,
        "cold_start_seconds": [3 * factor] * 3,
        "warm_start_seconds": [2 * factor] * 3,
        "still_cached": 0.0,
        "by_prompt_tokens": {"64": timed, "8": timed},
        "by_batch_size": {"4": {"by_prompt_tokens": {"8": timed}}, "8": {"reason": "no", "by_prompt_tokens": {}}},
    }


def test_every_figure_has_the_ratio_of_its_two_measurements():
    found = compare_with_itself(samples(1.25, peak=420), samples(peak=400), 64)
    times = {name: bounds for name, bounds in found.items() if name.endswith((".p50", ".p95", "_seconds"))}
    assert len(times) == 3 + 4 * 4
    assert all(bounds == pytest.approx((1.25, 1.25)) for bounds in times.values())
    rates = {name: bounds for name, bounds in found.items() if name.endswith("_per_second")}
    assert all(bounds == pytest.approx((0.8, 0.8)) for bounds in rates.values()) and len(rates) == 2 * 4
    assert found["peak_memory_bytes"] == (1.05, 1.05)
    # 220 bytes above the imports, and 200.
    assert found["peak_memory_above_imports_bytes"] == (1.1, 1.1)
    assert {"time_to_first_token_ms.p50", "by_prompt_tokens.8.inter_token_latency_ms.p95"} <= set(found)
    assert "by_batch_size.4.8.decode_tokens_per_second" in found
    assert not [name for name in found if name.startswith("by_batch_size.8")]


def test_a_cold_start_that_was_not_cold_has_no_floor():
    found = compare_with_itself(samples(), samples() | {"still_cached": 0.9}, 64)
    assert "cold_start_seconds" not in found and "warm_start_seconds" in found


def test_a_variant_measured_twice_has_a_floor_for_each_figure_that_variants_are_compared_by(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from contextlib import nullcontext

    monkeypatch.setattr(efficiency, "measuring_alone", nullcontext)
    asked = Benchmark(prompt_tokens=(4, 8), new_tokens=3, warmup=1, starts=0)
    settings = EfficiencySettings(benchmark=asked, threads=1, device="cpu", processor="test")
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    measure_efficiency(settings, {"variant": tiny_onnx}, tmp_path / "first")
    measure_noise_floor(settings, {"variant": tiny_onnx, "efficiency": tmp_path / "first"}, tmp_path / "again")
    facts = json.loads((tmp_path / "again" / "facts.json").read_text())
    noise = NoiseFloor(variant="onnx-fp32", **facts)
    assert all(0 <= floor < 100 for floor in noise.relative.values())
    # Whatever has an interval, and memory; of percentiles the 99th has neither.
    figures = json.loads((tmp_path / "first" / "facts.json").read_text())
    wanted = {*figures["intervals"], "peak_memory_bytes", "peak_memory_above_imports_bytes"}
    wanted |= {f"by_prompt_tokens.{length}.{name}" for length, one in figures["by_prompt_tokens"].items()
               for name in (*one["intervals"], "peak_memory_bytes")}  # fmt: skip
    assert set(noise.relative) == wanted
    assert noise.relative["inter_token_latency_ms.p50"] > 0
    assert VariantFigures.model_fields.keys() >= {name.partition(".")[0] for name in noise.relative}
