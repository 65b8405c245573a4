"""What is said of speed and memory: no difference below the noise floor is called one."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import findings, gains, variant_tables
from evaluation.report.cost_table import UNTOLD, cost_table
from evaluation.report.noise_words import NAME
from evaluation.report.tables import Table
from evaluation.results import Results

DECODE = "decode_tokens_per_second"


@pytest.fixture
def content() -> dict[str, Any]:
    """Three variants: onnx-int4 decodes 4% faster than onnx-fp32, and both much faster than torch-fp32."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))
    found["variants"] = {name: found["variants"][name] for name in ("torch-fp32", "onnx-fp32", "onnx-int4")}
    found["gates"] = []
    for name, rate, memory in (("torch-fp32", 100.0, 1000), ("onnx-fp32", 200.0, 1010), ("onnx-int4", 208.0, 500)):
        one = found["variants"][name]
        one |= {DECODE: rate, "peak_memory_bytes": memory * 10**6}
        one["inter_token_latency_ms"] |= {"p50": 1000 / rate}
        one["intervals"] |= {DECODE: [rate - 1, rate + 1], "inter_token_latency_ms.p50": [999 / rate, 1001 / rate]}
    return found


def results(content: dict[str, Any], **relative: float) -> Results:
    noise = {"noise_floor": {"variant": "torch-fp32", "relative": relative}} if relative else {}
    return Results.model_validate(content | noise)


def cells(table: Table, row: str) -> dict[str, tuple[str, str]]:
    found = next(each for each in table.rows if each[0].text == row)
    return {column: (cell.text, cell.note) for column, cell in zip(table.columns, found, strict=True)}


def test_the_fastest_is_named_with_those_that_nothing_tells_apart_from_it(content):
    def tile(found: Results) -> tuple[str, str]:
        tiles = findings.tiles(found, findings.verdict(found))
        return next((one.value, one.note) for one in tiles if one.label.startswith("Fastest"))

    # Without a floor the intervals decide, and they are apart.
    assert tile(results(content)) == ("208", "tokens/s decoded, onnx-int4")
    assert tile(results(content, **{DECODE: 0.03})) == ("208", "tokens/s decoded, onnx-int4")
    told = tile(results(content, **{DECODE: 0.05}))
    assert told == ("208", "tokens/s decoded, onnx-int4, not told apart from onnx-fp32")


def test_a_speed_within_the_noise_is_not_called_another(content):
    sentences = list(gains.gained(results(content, **{DECODE: 0.05})))
    assert any("2.0\u00d7 its decoding speed, noise floor \u00b1\u00a05.0%." in one for one in sentences)
    sentences = list(gains.gained(results(content, **{DECODE: 1.05})))
    assert any("no other decoding speed as far as can be told (2.0\u00d7" in one for one in sentences)


def test_each_cost_stands_beside_the_reference_with_a_word_for_it(content):
    table = cost_table(results(content, **{"peak_memory_bytes": 0.02, "inter_token_latency_ms.p50": 0.03}))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["onnx-fp32", "onnx-int4", NAME]
    fp32, int4, floor = (cells(table, row[0].text) for row in table.rows)
    # 1% more memory than torch-fp32, where one variant differs from itself by 2%.
    assert fp32["peak memory"] == ("1.01\u00d7", UNTOLD)
    assert int4["peak memory"] == ("0.500\u00d7", "less")
    assert fp32["time between tokens"] == ("0.500\u00d7", "faster")
    assert floor["peak memory"][0] == "\u00b1\u00a02.0%" and floor["size on disk"][0] == "exact"
    assert "cold start" not in table.columns


def test_every_table_of_speed_ends_with_the_floor_and_all_rows_are_as_wide(content):
    for one in content["variants"].values():
        one["by_batch_size"] = {"4": {"32": one["by_prompt_tokens"]["32"]}}
        one |= {"cold_start_seconds": None, "warm_start_seconds": 2.0, "starts": 3}
    content["variants"]["onnx-int4"]["by_batch_size"]["4"] = {"reason": "not to be batched"}
    relative = {
        "by_prompt_tokens.256.inter_token_latency_ms.p50": 0.021,
        "by_batch_size.4.32.inter_token_latency_ms.p95": 0.034,
        "warm_start_seconds": 0.07,
    }
    found = results(content, **relative)
    tables = [
        variant_tables.summary_table(found, findings.verdict(found)),
        *variant_tables.latency_tables(found),
        *variant_tables.batch_tables(found),
        variant_tables.machine_table(found),
    ]
    assert len(tables) == 6
    for table in tables:
        assert table.rows[-1][0].text == NAME
        assert {sum(cell.span for cell in row) for row in table.rows} == {len(table.columns)}, table.title
    latency, batch, machine = tables[1], tables[4], tables[5]
    assert cells(latency, NAME)["time between tokens, p50"][0] == "\u00b1\u00a02.1%"
    assert cells(batch, NAME)["time between tokens, p95"][0] == "\u00b1\u00a03.4%"
    assert [row[2].text for row in batch.rows if row[0].text == "onnx-int4"] == ["not to be batched"]
    assert cells(machine, "torch-fp32")["cold start to first token"] == ("n/a", "its files stay cached")
    assert cells(machine, NAME)["warm start to first token"][0] == "\u00b1\u00a07.0%"


def test_without_a_floor_there_is_no_row_for_it(content):
    found = results(content)
    tables = [variant_tables.summary_table(found, findings.verdict(found)), *variant_tables.latency_tables(found)]
    assert NAME not in {row[0].text for table in tables for row in table.rows}
