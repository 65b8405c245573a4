import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation import efficiency, efficiency_child
from evaluation.efficiency import EfficiencySettings, measure_efficiency, summarize
from evaluation.results import VariantFigures
from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.recipe.benchmark import Benchmark

BENCHMARK = Benchmark(prompt_tokens=(40, 4, 16), new_tokens=3, warmup=1, starts=0)
SETTINGS = EfficiencySettings(benchmark=BENCHMARK, threads=1, device="cpu", processor="test")
SHORT = {
    "peak_memory_bytes": 320,
    "time_to_first_token_ms": [10.0] * 9 + [20.0] * 9 + [30.0, 40.0],
    "inter_token_latency_ms": [[1.0, 2.0]] * 10 + [[2.0, 2.0]] * 9 + [[4.0, 50.0]],
}
LONG = {
    "peak_memory_bytes": 350,
    "time_to_first_token_ms": [80.0] * 20,
    "inter_token_latency_ms": [[4.0, 4.0]] * 19 + [[4.0, 8.0]],
}
SAMPLES = {
    "imports_memory_bytes": 100,
    "peak_memory_bytes": 350,
    "load_seconds": [9.0, 1.0, 2.0, 3.0, 2.0],
    "by_prompt_tokens": {"64": SHORT, "256": LONG},
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
    figures = summarize(SAMPLES, headline_prompt_tokens=64)
    assert figures["peak_memory_above_imports_bytes"] == 250
    assert figures["load_seconds"] == 2
    # Of 20 samples the percentiles lie at ranks 10.5, 19.05 and 19.81: the last two between 30 and 40 ms.
    expected = {"p50": 20, "p95": pytest.approx(30.5), "p99": pytest.approx(38.1), "samples": 20}
    assert figures["time_to_first_token_ms"] == expected
    assert figures["inter_token_latency_ms"]["p50"] == 2
    assert figures["prefill_tokens_per_second"] == 1000 * 64 / 20
    assert figures["decode_tokens_per_second"] == 500
    assert figures["repeats"] == 20
    assert figures["by_prompt_tokens"]["64"]["peak_memory_bytes"] == 320
    assert figures["cold_start_seconds"] is figures["warm_start_seconds"] is figures["starts"] is None


def test_tokens_a_second_of_a_batch_are_those_of_all_its_prompts():
    samples = SAMPLES | {"by_batch_size": {"4": {"batch_dependence_nats": 0.0, "by_prompt_tokens": {"64": SHORT}}}}
    alone = summarize(samples, headline_prompt_tokens=64)
    beside = alone["by_batch_size"]["4"]["64"]
    assert beside["prefill_tokens_per_second"] == 4 * alone["prefill_tokens_per_second"] == 4 * 64 * 1000 / 20
    assert beside["decode_tokens_per_second"] == 4 * alone["decode_tokens_per_second"] == 4 * 500
    assert beside["time_to_first_token_ms"] == alone["time_to_first_token_ms"]
    low, high = alone["intervals"]["decode_tokens_per_second"]
    assert beside["intervals"]["decode_tokens_per_second"] == (4 * low, 4 * high)


def test_starts_are_medians_and_a_cold_one_counts_only_where_the_files_were_not_cached():
    starts = {"cold_start_seconds": [5.0, 3.0, 4.0], "warm_start_seconds": [2.0, 1.0, 1.5], "still_cached": 0.0}
    figures = summarize(SAMPLES | starts, headline_prompt_tokens=64)
    assert (figures["cold_start_seconds"], figures["warm_start_seconds"], figures["starts"]) == (4.0, 1.5, 3)
    # Of three starts, the interval is from the fastest to the slowest.
    assert figures["intervals"]["cold_start_seconds"] == (3.0, 5.0)
    cached = summarize(SAMPLES | starts | {"still_cached": 0.5}, headline_prompt_tokens=64)
    assert (cached["cold_start_seconds"], cached["warm_start_seconds"]) == (None, 1.5)
    assert "cold_start_seconds" not in cached["intervals"]


def test_the_headline_figures_are_those_of_the_headline_length():
    figures = summarize(SAMPLES, headline_prompt_tokens=256)
    assert figures["prompt_tokens"] == 256
    assert figures["prefill_tokens_per_second"] == 1000 * 256 / 80
    own = figures["by_prompt_tokens"]["256"]
    # Memory's headline is that of all lengths together.
    apart = ("intervals", "peak_memory_bytes")
    assert {name: figures[name] for name in own if name not in apart} == {
        name: value for name, value in own.items() if name not in apart
    }
    assert figures["peak_memory_bytes"] == SAMPLES["peak_memory_bytes"]
    assert figures["intervals"] == {"load_seconds": figures["intervals"]["load_seconds"], **own["intervals"]}


def test_every_median_has_an_interval_that_holds_it():
    figures = summarize(SAMPLES, headline_prompt_tokens=64)
    for part in (figures, *figures["by_prompt_tokens"].values()):
        for name, (low, high) in part["intervals"].items():
            figure, _, inner = name.partition(".")
            assert low <= (part[figure][inner] if inner else part[figure]) <= high
    assert {"load_seconds", "decode_tokens_per_second", "inter_token_latency_ms.p50"} <= set(figures["intervals"])


def test_a_rate_is_highest_where_its_time_is_lowest():
    intervals = summarize(SAMPLES, headline_prompt_tokens=64)["intervals"]
    low_ms, high_ms = intervals["time_to_first_token_ms.p50"]
    assert (low_ms, high_ms) == (10, 20)
    assert intervals["prefill_tokens_per_second"] == (1000 * 64 / 20, 1000 * 64 / 10)


def test_the_99th_percentile_is_told_with_the_number_of_samples():
    later = summarize(SAMPLES, headline_prompt_tokens=256)["inter_token_latency_ms"]
    # Of 40 samples the 99th percentile lies at rank 38.61, between the 39th, 4 ms, and the 40th, 8 ms.
    assert later == {"p50": 4, "p95": 4, "p99": pytest.approx(4 + 0.61 * 4), "samples": 40}


def test_a_variant_is_timed_token_by_token_and_alone(tiny_onnx: Path, tmp_path: Path, alone: list[str]):
    with progress.listening(lambda said: alone.append(said.note)):
        measure_efficiency(SETTINGS, {"variant": tiny_onnx}, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    samples = json.loads((tmp_path / "efficiency.json").read_text())["samples"]
    assert (*alone[:2], alone[-1]) == ("held", "run", "given back")
    assert set(samples["by_prompt_tokens"]) == {"4", "16", "40"}
    for timed in samples["by_prompt_tokens"].values():
        assert len(timed["time_to_first_token_ms"]) == 20
        assert [len(times) for times in timed["inter_token_latency_ms"]] == [2] * 20
    peaks = [samples["by_prompt_tokens"][length]["peak_memory_bytes"] for length in ("4", "16", "40")]
    assert samples["imports_memory_bytes"] < peaks[0] <= peaks[1] <= peaks[2] == samples["peak_memory_bytes"]
    assert len(samples["load_seconds"]) == 5
    assert facts["size_bytes"] == sum(path.stat().st_size for path in tiny_onnx.iterdir())
    assert 0 < facts["peak_memory_above_imports_bytes"] < facts["peak_memory_bytes"]


def test_lengths_take_turns_so_that_a_slow_phase_hits_none_alone(tiny_onnx: Path, tmp_path: Path, alone: list[str]):
    with progress.listening(lambda said: alone.append(said.note)):
        measure_efficiency(SETTINGS, {"variant": tiny_onnx}, tmp_path)
    timed = [note for note in alone if note.startswith("times")]
    assert timed == [f"times a prompt of {length} tokens" for length in (4, 16, 40)] * 21


def test_prompts_side_by_side_are_timed_step_by_step(tiny_onnx: Path, tmp_path: Path, alone: list[str]):
    asked = BENCHMARK.model_copy(update={"batch_sizes": (1, 3), "prompt_tokens": (8,), "starts": 2})
    measure_efficiency(SETTINGS.model_copy(update={"benchmark": asked}), {"variant": tiny_onnx}, tmp_path)
    content = json.loads((tmp_path / "efficiency.json").read_text())
    timed = content["samples"]["by_batch_size"]["3"]
    assert timed["batch_dependence_nats"] < 1e-4
    assert [len(times) for times in timed["by_prompt_tokens"]["8"]["inter_token_latency_ms"]] == [2] * 20
    assert all(time > 0 for times in timed["by_prompt_tokens"]["8"]["inter_token_latency_ms"] for time in times)
    speed = content["figures"]["by_batch_size"]["3"]["8"]
    assert speed["decode_tokens_per_second"] == pytest.approx(3000 / speed["inter_token_latency_ms"]["p50"])
    # The first process, that of the batch, and two cold and two warm starts.
    assert alone == ["held", *["run"] * 6, "given back"]
    cold, warm = (content["samples"][f"{name}_start_seconds"] for name in ("cold", "warm"))
    assert len(cold) == len(warm) == 2 and all(0.05 < seconds < 60 for seconds in (*cold, *warm))


def test_a_variant_whose_answers_depend_on_the_batch_is_timed_alone_and_says_why(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = efficiency.child.run

    def dependent(function: str, payload: dict, **named: int) -> dict:
        if function.endswith("measure_batch"):
            return {"batch_dependence_nats": 0.31, "by_prompt_tokens": {}}
        return run(function, payload, **named)

    monkeypatch.setattr(efficiency.child, "run", dependent)
    asked = BENCHMARK.model_copy(update={"batch_sizes": (1, 4), "prompt_tokens": (8,)})
    measure_efficiency(SETTINGS.model_copy(update={"benchmark": asked}), {"variant": tiny_onnx}, tmp_path)
    found = json.loads((tmp_path / "facts.json").read_text())["by_batch_size"]
    said = "not to be batched: beside others an answer's log-probability moves by 0.31 nats, above 0.001"
    assert found == {"4": {"reason": said}}


def test_a_batch_that_does_not_fit_the_memory_is_a_row_and_no_end(monkeypatch: pytest.MonkeyPatch):
    def full(function: str, payload: dict, **named: int) -> dict:
        raise MemoryError("cannot allocate 9 GiB\nand more")

    monkeypatch.setattr(efficiency.child, "run", full)
    assert efficiency._measure_batch({"threads": 1}) == {"reason": "out of memory: cannot allocate 9 GiB"}


def test_a_batch_is_not_timed_where_a_probe_moves(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the variant itself makes what is asked beside it count, the process finds that out and times nothing."""
    monkeypatch.setattr(efficiency_child, "measure_batch_dependence", lambda score, pairs: len(score(pairs)) / 10)
    payload = {"variant": str(tiny_onnx), "threads": 1, "device": "cpu", "context_tokens": 128, "batch_size": 2}
    assert efficiency_child.measure_batch(payload) == {"batch_dependence_nats": 0.6, "by_prompt_tokens": {}}


def test_a_torch_variant_gives_the_figures_that_parity_leaves_open(tiny_model: Path, tmp_path: Path):
    measure_efficiency(SETTINGS, {"variant": tiny_model}, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    parity = {
        "bits_per_byte": 1.0,
        "kl_to_fp32": 0.0,
        "top1_agreement": 1.0,
        "greedy_prefix_tokens": 8.0,
        "bits_per_byte_ratio_to_fp32": 1.0,
        "parity_tokens": 60,
    }
    figures = VariantFigures(**facts, **parity)
    of_others = {"candidates", "capability", "batch_dependence_nats"}
    assert set(facts) | set(parity) | of_others == set(VariantFigures.model_fields)
    assert figures.prompt_tokens == 16
    assert figures.time_to_first_token_ms == figures.by_prompt_tokens["16"].time_to_first_token_ms
    assert all(speed.inter_token_latency_ms.p99 for speed in figures.by_prompt_tokens.values())


def test_a_benchmark_longer_than_the_context_is_refused_before_anything_runs(
    tiny_onnx: Path, tmp_path: Path, alone: list[str]
):
    long = SETTINGS.model_copy(update={"benchmark": Benchmark(prompt_tokens=(128, 16), new_tokens=4, starts=0)})
    with pytest.raises(InputError, match=r"prompt_tokens \+ new_tokens is 132, 128 allowed"):
        measure_efficiency(long, {"variant": tiny_onnx}, tmp_path)
    assert alone == []
