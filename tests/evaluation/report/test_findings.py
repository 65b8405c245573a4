import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import findings
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
    assert found.word == "ships in part" and found.shipped == ("torch-fp32", "onnx-fp32")
    assert plain([found.sentence]) == (
        "ships as torch-fp32 and onnx-fp32, without onnx-int4 (its bits per byte is 1.120 x torch-fp32, 95% "
        "interval 1.108 to 1.131, and the limit is at most 1.1 x torch-fp32); 4 of 5 blocking gates passed."
    )


def test_a_gate_that_warns_changes_no_verdict(results: dict[str, Any]):
    results["gates"][2] |= {"verdict": "failed", "limit": "at least teacher - 0.1"}
    found = verdict(results)
    assert found.word == "ships"
    assert plain(found.warnings) == (
        "Only a warning: the student's arc_easy is teacher - 0.1700, and the limit is at least teacher - 0.1."
    )


def test_an_absent_variant_does_not_ship(results: dict[str, Any]):
    results["variants"]["onnx-int4"] = {"reason": "no kernel for this platform"}
    results["gates"] = results["gates"][:4]
    assert verdict(results).sentence == (
        "ships as torch-fp32 and onnx-fp32, without onnx-int4 (not made: no kernel for this platform); "
        "all 3 blocking gates passed."
    )


def test_a_gate_without_a_value_shows_nothing(results: dict[str, Any]):
    results["gates"] = [results["gates"][1] | {"value": None, "interval": None, "verdict": "insufficient evidence"}]
    assert verdict(results).sentence == (
        "is blocked by 1 gate: the student's top-1 agreement with teacher was not measured, "
        "so nothing shows that it is at least 0.45."
    )


def test_a_recipe_without_gates_requires_nothing(results: dict[str, Any]):
    results["gates"] = []
    assert verdict(results).sentence == (
        "ships as torch-fp32, onnx-fp32 and onnx-int4; its recipe sets no blocking gate."
    )


def test_a_difference_carries_the_standard_errors_of_both_models(results: dict[str, Any]):
    student = {"value": 0.5, "stderr": 0.04, "n": 99}
    results["behaviour"] = {}
    results["capability"] = {
        "far": {"teacher": {"value": 0.8, "stderr": 0.03, "n": 99}, "student": student},
        "near": {"teacher": {"value": 0.6, "stderr": 0.03, "n": 99}, "student": student},
        "half": {"student": student},
    }
    lost = plain(findings.lost(Results.model_validate(results)))
    assert "far: -0.300 (standard error 0.050, n 99), below the teacher." in lost
    assert "near: -0.100 (standard error 0.050, n 99), not distinguishable at this n." in lost
    assert "half: n/a, because teacher and student were not both scored." in lost


def test_what_was_gained_is_measured_against_the_teacher_and_against_torch(results: dict[str, Any]):
    gained = plain(findings.gained(Results.model_validate(results)))
    # 81399744 / 134515008 = 60.5%; 70148096 / 327745536 = 21.4%; 163.212 / 40.204 = 4.06.
    assert "81,399,744 parameters instead of the teacher's 134,515,008: 39.5% fewer, 15 layers instead of 30." in gained
    assert "that is 21.4% of torch-fp32's size and 4.1\u00d7 its decoding speed." in gained


def test_the_limits_are_computed_from_the_figures(results: dict[str, Any]):
    results["lineage"]["code"]["commit"] += "-dirty"
    told = plain(limits(Results.model_validate(results)))
    # (0.6779 - 0.6054) / (2 * 1.96) = 0.0185; sqrt(0.25 / 100) = 5 points, 2 * sqrt(2) * 5 = 14.
    assert "has a standard error of about 0.018 nats per token, over documents" in told
    assert "near 50% has a standard error of 5.0 points; a difference between two models below about 14 points" in told
    assert "not distinguishable at this n on piqa and crows_pairs_en" in told
    assert "(de-quantized from Q4_1, embedding Q8_0: not the original weights)" in told
    assert "on 3,072 parity tokens" in told and "One seed (17)" in told
    assert "The code differs from its commit" in told


def test_an_unquantized_teacher_is_no_limit(results: dict[str, Any]):
    results["lineage"]["teacher"]["quantization"] = "none"
    assert "rounded" not in plain(limits(Results.model_validate(results)))
