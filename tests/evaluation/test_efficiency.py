import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation import efficiency
from evaluation.efficiency import EfficiencySettings, measure_efficiency, summarize
from evaluation.results import VariantFigures
from stillhouse.errors import InputError
from stillhouse.recipe.benchmark import Benchmark

SETTINGS = EfficiencySettings(
    benchmark=Benchmark(prompt_tokens=16, new_tokens=4, repeats=5, warmup=1), threads=1, device="cpu", processor="test"
)
SAMPLES = {
    "imports_memory_bytes": 100,
    "peak_memory_bytes": 350,
    "load_seconds": [9.0, 1.0, 2.0, 3.0, 2.0],
    "time_to_first_token_ms": [10.0, 20.0, 40.0],
    "inter_token_latency_ms": [[1.0, 2.0], [2.0, 2.0], [4.0, 50.0]],
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tests do not wait for the machine; what was done while it was held is kept."""
    happened: list[str] = []

    @contextmanager
    def held():
        happened.append("held")
        yield
        happened.append("given back")

    run = efficiency.child.run
    monkeypatch.setattr(efficiency, "measuring_alone", held)
    monkeypatch.setattr(efficiency.child, "run", lambda *given, **named: happened.append("run") or run(*given, **named))
    return happened


def test_figures_are_medians_worked_out_by_hand():
    figures = summarize(SAMPLES, prompt_tokens=64)
    assert figures["peak_memory_above_imports_bytes"] == 250
    assert figures["load_seconds"] == 2
    assert figures["time_to_first_token_ms"] == {"p50": 20, "p95": pytest.approx(38), "p99": None}
    assert figures["inter_token_latency_ms"]["p50"] == 2
    assert figures["prefill_tokens_per_second"] == 1000 * 64 / 20
    assert figures["decode_tokens_per_second"] == 500
    assert figures["repeats"] == 3


def test_a_rate_is_highest_where_its_time_is_lowest():
    intervals = summarize(SAMPLES, prompt_tokens=64)["intervals"]
    low_ms, high_ms = intervals["time_to_first_token_ms.p50"]
    assert (low_ms, high_ms) == (10, 40)
    assert intervals["prefill_tokens_per_second"] == (1000 * 64 / 40, 1000 * 64 / 10)


def test_the_99th_percentile_needs_a_hundred_samples():
    samples = SAMPLES | {"inter_token_latency_ms": [[2.0] * 50] * 3}
    assert summarize(samples, prompt_tokens=64)["inter_token_latency_ms"]["p99"] == 2


def test_a_variant_is_timed_token_by_token_and_alone(tiny_onnx: Path, tmp_path: Path, alone: list[str]):
    measure_efficiency(SETTINGS, {"variant": tiny_onnx}, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    samples = json.loads((tmp_path / "efficiency.json").read_text())["samples"]
    assert alone == ["held", "run", "given back"]
    assert [len(times) for times in samples["inter_token_latency_ms"]] == [3] * 5
    assert len(samples["load_seconds"]) == 5
    assert facts["size_bytes"] == sum(path.stat().st_size for path in tiny_onnx.iterdir())
    assert 0 < facts["peak_memory_above_imports_bytes"] < facts["peak_memory_bytes"]


def test_a_torch_variant_gives_the_figures_that_parity_leaves_open(tiny_model: Path, tmp_path: Path):
    measure_efficiency(SETTINGS, {"variant": tiny_model}, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    parity = {"bits_per_byte", "kl_to_fp32", "top1_agreement", "greedy_prefix_tokens", "bits_per_byte_ratio_to_fp32"}
    assert set(facts) | parity | {"parity_tokens"} == set(VariantFigures.model_fields)


def test_a_benchmark_longer_than_the_context_is_refused_before_anything_runs(tiny_onnx: Path, tmp_path: Path):
    long = SETTINGS.model_copy(update={"benchmark": Benchmark(prompt_tokens=128, new_tokens=4)})
    with pytest.raises(InputError, match="is 132, 128 allowed"):
        measure_efficiency(long, {"variant": tiny_onnx}, tmp_path)
