"""What each step changed, worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.results import Results
from evaluation.waterfall import Change, Fall, waterfall

RESULTS = Path(__file__).parent / "report" / "results.json"
SPEED = {"p50": 20.0, "p95": 30.0, "p99": 31.0, "samples": 20}


@pytest.fixture
def content() -> dict[str, Any]:
    """A run with round figures: a teacher, a start, a student, and three variants of it."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name, above, bits in (("teacher", None, 1.0), ("pruned", 2.0, 2.0), ("student", 0.5, 1.25)):
        model = found["models"][name]
        model |= {"bits_per_byte": bits, "held_out_loss_nats_per_token": 2.0 + (above or 0.0)}
        model["held_out_loss_above_teacher_nats_per_token"] = above
        bounds = {} if above is None else {ABOVE: [above - 0.1, above + 0.2]}
        model["intervals"] = bounds
    found["variants"] = {name: found["variants"][name] for name in ("torch-fp32", "bnb-int8", "onnx-fp32", "onnx-int4")}
    for name, ratio, size, p95 in (
        ("torch-fp32", 1.0, 400, 30.0),
        ("bnb-int8", 1.1, 150, 31.0),
        ("onnx-fp32", 1.0, 410, 20.0),
        ("onnx-int4", 1.05, 60, 10.0),
    ):
        one = found["variants"][name]
        one |= {"bits_per_byte": 2 * ratio, "bits_per_byte_ratio_to_fp32": ratio, "size_bytes": size}
        one["inter_token_latency_ms"] = SPEED | {"p95": p95}
        one["intervals"] = {"inter_token_latency_ms.p95": [p95 - 1, p95 + 1]}
        if ratio > 1:
            one["intervals"]["bits_per_byte_ratio_to_fp32"] = [ratio - 0.01, ratio + 0.01]
    return found


ABOVE = "held_out_loss_above_teacher_nats_per_token"


def fall(content: dict[str, Any], metric: str) -> Fall:
    return next(one for one in waterfall(Results.model_validate(content)).falls if one.metric == metric)


def near(change: Change) -> tuple[str, Any, Any, bool]:
    interval = None if change.interval is None else pytest.approx(change.interval)
    return change.since, pytest.approx(change.value), interval, change.differs


def test_a_graph_in_few_bits_comes_by_way_of_the_exported_one(content):
    steps = {step.name: (step.after, step.done) for step in waterfall(Results.model_validate(content)).steps}
    assert steps == {
        "teacher": (None, "teacher"),
        "pruned": ("teacher", "pruned"),
        "distilled": ("pruned", "distilled"),
        "onnx-fp32": ("distilled", "exported"),
        "bnb-int8": ("distilled", "quantized"),
        "onnx-int4": ("onnx-fp32", "quantized"),
    }
    del content["variants"]["onnx-fp32"]
    steps = {step.name: (step.after, step.done) for step in waterfall(Results.model_validate(content)).steps}
    assert steps["onnx-int4"] == ("distilled", "exported, quantized")


def test_loss_goes_up_by_pruning_and_down_by_distillation(content):
    loss = fall(content, "held_out_loss_nats_per_token")
    assert (loss.first, loss.start, loss.direction) == ("teacher", 2.0, "lower is better")
    assert near(loss.changes["pruned"]) == ("teacher", 2.0, (1.9, 2.2), True)
    # From 0.4 - 2.2 to 0.7 - 1.9: at least as wide as the interval of the difference itself.
    assert near(loss.changes["distilled"]) == ("pruned", -1.5, (-1.8, -1.2), True)
    assert loss.total("distilled") == pytest.approx(2.5)
    assert set(loss.changes) == {"pruned", "distilled"}


def test_bits_go_on_through_the_variants_by_their_ratio_to_the_student(content):
    bits = fall(content, "bits_per_byte")
    # A nat per token is half a bit per byte here.
    assert near(bits.changes["pruned"]) == ("teacher", 1.0, (0.95, 1.1), True)
    # 5% of torch-fp32's 2 bits on the parity text, of which one hundredth either way is 0.02.
    assert near(bits.changes["onnx-int4"])[:2] == ("onnx-fp32", 0.1)
    assert near(bits.changes["bnb-int8"]) == ("distilled", 0.2, (0.18, 0.22), True)
    assert bits.total("bnb-int8") == pytest.approx(1.45)


def test_no_interval_no_change_that_is_called_one(content):
    # onnx-fp32 has none in this file, so that nothing is known of the step from it to onnx-int4.
    change = fall(content, "bits_per_byte").changes["onnx-int4"]
    assert change.interval is None and not change.differs


def test_what_rounding_does_is_no_change(content):
    content["variants"]["onnx-fp32"]["kl_to_fp32"] = 1e-9
    content["variants"]["onnx-fp32"]["intervals"]["kl_to_fp32"] = [5e-10, 2e-9]
    assert not fall(content, "kl_to_fp32").changes["onnx-fp32"].differs


def test_costs_begin_at_the_student_where_the_teacher_was_not_timed(content):
    size, slow = fall(content, "size_bytes"), fall(content, "inter_token_latency_ms.p95")
    assert (size.first, size.start) == ("distilled", 400)
    assert {name: (one.since, one.value, one.differs) for name, one in size.changes.items()} == {
        "onnx-fp32": ("distilled", 10, True),
        "bnb-int8": ("distilled", -250, True),
        "onnx-int4": ("onnx-fp32", -350, True),
    }
    assert near(slow.changes["onnx-int4"]) == ("onnx-fp32", -10.0, (-12.0, -8.0), True)
    # 29 to 31 and 30 to 32 meet.
    assert near(slow.changes["bnb-int8"]) == ("distilled", 1.0, (-1.0, 3.0), False)


def test_costs_begin_at_the_teacher_where_it_was_timed(content):
    costs = set(content["variants"]["torch-fp32"]) - set(NOT_OF_COSTS)
    content["teacher_costs"] = {name: content["variants"]["torch-fp32"][name] for name in costs} | {"size_bytes": 700}
    size = fall(content, "size_bytes")
    assert (size.first, size.start) == ("teacher", 700)
    assert (size.changes["distilled"].since, size.changes["distilled"].value) == ("teacher", -300)


NOT_OF_COSTS = (
    "bits_per_byte", "kl_to_fp32", "top1_agreement", "greedy_prefix_tokens", "bits_per_byte_ratio_to_fp32",
    "parity_tokens", "candidates",
)  # fmt: skip


def test_a_change_of_time_below_the_noise_floor_is_not_called_one(content):
    content["noise_floor"] = {"variant": "torch-fp32", "relative": {"inter_token_latency_ms.p95": 0.6}}
    slow = fall(content, "inter_token_latency_ms.p95")
    # 30 to 20 is a factor of 1.5, 20 to 10 one of 2.
    assert not slow.changes["onnx-fp32"].differs and slow.changes["onnx-int4"].differs


def score(value: float, difference: float | None = None, **more: Any) -> dict[str, Any]:
    told = {"value": value, "stderr": 0.1, "n": 50}
    return told if difference is None else told | {"difference_to_teacher": difference} | more


def test_benchmarks_of_variants_are_beside_the_student_on_their_own_documents(content):
    content["capability"] = {
        "piqa": {
            "teacher": score(0.7),
            "pruned": score(0.5, -0.2, difference_interval=[-0.3, -0.1], p_value_holm=0.001),
            "student": score(0.6, -0.1, difference_interval=[-0.18, -0.02], p_value_holm=0.2),
        }
    }
    for name, found in (
        ("torch-fp32", score(0.5)),
        ("onnx-fp32", score(0.5, 0.0, difference_interval=[-0.04, 0.04], gained=0, lost=0)),
        ("onnx-int4", score(0.3, -0.2, difference_interval=[-0.3, -0.1], gained=1, lost=11)),
    ):
        content["variants"][name]["capability"] = {"piqa": found}
    piqa = fall(content, "piqa")
    assert (piqa.first, piqa.start, piqa.direction) == ("teacher", 0.7, "higher is better")
    assert near(piqa.changes["pruned"]) == ("teacher", -0.2, (-0.3, -0.1), True)
    assert near(piqa.changes["distilled"]) == ("pruned", 0.1, (-0.08, 0.28), False)
    # No document is answered otherwise after the export, so what is left of the interval is the quantization's.
    assert near(piqa.changes["onnx-int4"]) == ("onnx-fp32", -0.2, (-0.3, -0.1), True)
    assert piqa.total("onnx-int4") == pytest.approx(0.4)


def test_a_difference_that_the_number_of_benchmarks_explains_is_not_called_one(content):
    content["capability"] = {
        "piqa": {
            "teacher": score(0.7),
            "student": score(0.6, -0.1, difference_interval=[-0.18, -0.02], p_value_holm=0.2),
        }
    }
    assert fall(content, "piqa").changes["distilled"].differs is False


def test_a_benchmark_of_bits_is_better_when_lower(content):
    content["capability"] = {"gsm8k_bits_per_byte": {"teacher": score(1.0), "student": score(1.2, 0.2)}}
    assert fall(content, "gsm8k_bits_per_byte").direction == "lower is better"


def test_a_model_that_is_exported_as_it_came_begins_with_itself(content):
    del content["models"]["teacher"], content["models"]["pruned"]
    content["capability"] = {}
    found = waterfall(Results.model_validate(content))
    assert found.steps[0].name == "distilled" and found.steps[0].after is None
    bits = next(one for one in found.falls if one.metric == "bits_per_byte")
    assert (bits.first, bits.start) == ("distilled", 1.25) and set(bits.changes) == {
        "onnx-fp32",
        "bnb-int8",
        "onnx-int4",
    }


def test_nothing_measured_nothing_told(content):
    content |= {"models": {}, "variants": {}, "capability": {}}
    assert waterfall(Results.model_validate(content)).falls == ()
