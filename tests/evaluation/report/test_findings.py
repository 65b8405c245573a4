import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import findings, gains
from evaluation.report.limits import limits
from evaluation.results import Results


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


def verdict(results: dict[str, Any]) -> findings.Verdict:
    return findings.verdict(Results.model_validate(results))


def plain(sentences: Any) -> str:
    return " ".join(sentences).replace("\u00a0", " ").replace("\u2212", "-")


def test_a_blocked_run_names_the_gates_that_block_it(results: dict[str, Any]):
    results["package"] = None
    results["gates"][0] |= {"verdict": "failed", "limit": "at most teacher + 0.5"}
    results["gates"][1] |= {"verdict": "insufficient evidence", "limit": "at least 0.52"}
    found = verdict(results)
    assert found.word == "blocked" and found.shipped == ()
    assert plain([found.sentence]) == (
        "is blocked by 2 gates: the student's held-out loss is teacher + 0.6408 nats per token, 95% interval "
        "+0.6054 to +0.6779, and the limit is at most teacher + 0.5; the student's top-1 agreement with teacher is "
        "0.5173, 95% interval 0.5029 to 0.5318, too wide to tell whether it is at least 0.52."
    )
    told = plain(limits(Results.model_validate(results)))
    assert "The evidence does not decide 1 gate: student: top-1 agreement with teacher." in told


def test_a_variant_is_left_out_for_its_own_gate_alone(results: dict[str, Any]):
    results["gates"][4] |= {"verdict": "failed", "limit": "at most 1.1 x torch-fp32"}
    found = verdict(results)
    assert found.word == "ships in part" and found.shipped == ("torch-fp32", "bnb-int8", "onnx-fp32", "onnx-int8")
    assert plain([found.sentence]) == (
        "ships as torch-fp32, bnb-int8, onnx-fp32 and onnx-int8, without onnx-int4 (its bits per byte is 1.120 x "
        "torch-fp32, 95% interval 1.108 to 1.131, and the limit is at most 1.1 x torch-fp32) and bnb-nf4 (not made: "
        "bitsandbytes 0.50.2 has no nf4 kernel for this processor); 4 of 5 blocking gates passed."
    )


def test_a_gate_that_warns_changes_no_verdict(results: dict[str, Any]):
    results["gates"][2] |= {"verdict": "failed", "limit": "at least teacher - 0.1"}
    found = verdict(results)
    assert found.word == "ships in part"
    assert plain(found.warnings) == (
        "Only a warning: the student's ARC-Easy is teacher - 0.1700, and the limit is at least teacher - 0.1."
    )


def test_an_absent_variant_does_not_ship(results: dict[str, Any]):
    results["gates"] = results["gates"][:4]
    assert verdict(results).sentence == (
        "ships as torch-fp32, bnb-int8, onnx-fp32, onnx-int8 and onnx-int4, without bnb-nf4 (not made: bitsandbytes "
        "0.50.2 has no nf4 kernel for this processor); all 3 blocking gates passed."
    )


def test_a_run_without_variants_was_measured_and_ships_nothing(results: dict[str, Any]):
    results |= {"variants": {}, "gates": []}
    assert verdict(results).word == "measured" and verdict(results).shipped == ()
    results["gates"] = [{"figure": "models.student.bits_per_byte", "value": 2.0, "interval": None}]
    results["gates"][0] |= {"limit": "at most 1", "action": "block", "verdict": "failed"}
    assert verdict(results).word == "blocked"


def test_a_gate_without_a_value_shows_nothing(results: dict[str, Any]):
    results["gates"] = [results["gates"][1] | {"value": None, "interval": None, "verdict": "insufficient evidence"}]
    assert verdict(results).sentence == (
        "is blocked by 1 gate: the student's top-1 agreement with teacher was not measured, "
        "so nothing shows that it is at least 0.45."
    )


def test_a_recipe_without_gates_requires_nothing(results: dict[str, Any]):
    results["gates"] = []
    results["variants"].pop("bnb-nf4")
    assert verdict(results).sentence == (
        "ships as torch-fp32, bnb-int8, onnx-fp32, onnx-int8 and onnx-int4; its recipe sets no blocking gate."
    )


def test_the_first_figures_hold_the_pooled_difference_with_its_interval(results: dict[str, Any]):
    found = Results.model_validate(results)
    tiles = {tile.label: tile for tile in findings.tiles(found, findings.verdict(found))}
    # (.43 + .62 + .36 + .55 + .52 + .28) / 6 = .46, and the teacher's .5217.
    assert plain([tiles["Right answers"].value]) == "-7.2"
    assert plain([tiles["Right answers"].note]) == "points to the teacher, -10.7 to -3.6, 6 benchmarks"


def test_the_limits_are_computed_from_the_figures(results: dict[str, Any]):
    results["lineage"]["code"]["commit"] += "-dirty"
    told = plain(limits(Results.model_validate(results)))
    # (0.6779 - 0.6054) / (2 * 1.96) = 0.0185; sqrt(0.25 / 100) = 5 points.
    assert "has a standard error of about 0.018 nats per token, over documents" in told
    assert "near 50% has a standard error of 5.0 points." in told
    assert "not distinguishable at this n on PIQA, HellaSwag, BoolQ, WinoGrande and OpenBookQA," in told
    assert "The behaviour suites are small (n from 24)" in told and "22 differences stand here" in told
    assert "has 20 samples a prompt length: its p99 lies between the slowest two" in told
    assert "(de-quantized from Q4_1, embedding Q8_0: not the original weights)" in told
    assert "on 3,072 parity tokens" in told and "One seed (17)" in told
    assert "The code differs from its commit" in told


def test_an_unquantized_teacher_is_no_limit(results: dict[str, Any]):
    results["lineage"]["teacher"]["quantization"] = "none"
    assert "rounded" not in plain(limits(Results.model_validate(results)))


def test_without_a_teacher_nothing_is_said_of_one(results: dict[str, Any]):
    results["models"] = {"student": results["models"]["student"]}
    for section in ("capability", "behaviour"):
        for key, scores in results[section].items():
            alone = {name: scores["student"][name] for name in ("value", "stderr", "n")}
            results[section][key] = {"student": alone}
    found = Results.model_validate(results)
    told = plain(limits(found))
    assert "No teacher was measured, so nothing here is compared with one." in told
    assert "teacher's" not in told and "differences stand" not in told and list(gains.lost(found)) == []
    assert [tile.label for tile in findings.tiles(found, findings.verdict(found))][:3] == [
        "Parameters", "Bits per byte", "Right answers"
    ]  # fmt: skip
