"""Gates with a margin: what documents must show before a student passes for no worse than its teacher."""

import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.comparison import compare_documents, compare_shares
from evaluation.evidence import of_sums
from evaluation.gate_figures import check_gates, figures_of
from evaluation.gates import judge, variants_left_out
from evaluation.score_files import DocumentScores
from stillhouse.errors import InputError
from stillhouse.recipe.gates import Gate
from tests.evaluation.gate_results import RESULTS, recipe_with

PIQA, LOSS = "capability.piqa.student.value", "models.student.held_out_loss_nats_per_token"


def answered(gained: int, lost: int, documents: int) -> dict:
    """Evidence of two models' answers, and a difference in RESULTS that agrees with it."""
    own = np.zeros(documents)
    own[:gained] = 1
    teacher = np.zeros(documents)
    teacher[gained : gained + lost] = 1
    scores = [DocumentScores(values, None, None, "higher is better", share=True) for values in (own, teacher)]
    return {(PIQA, "difference"): compare_shares(scores[:1], scores[1:]).evidence}


def judged_by_margin(evidence: dict, value: float, figure: str = PIQA, **gate: object):
    """Judge with a value in the results that is the evidence's own."""
    model = RESULTS["capability"]["piqa"]["student"] | {"difference_to_teacher": value}
    loss = RESULTS["models"]["student"] | {"held_out_loss_above_teacher_nats_per_token": value}
    results = RESULTS | {
        "capability": {"piqa": RESULTS["capability"]["piqa"] | {"student": model}},
        "models": RESULTS["models"] | {"student": loss},
    }
    return judge([Gate(figure=figure, relative_to="teacher", **gate)], results, evidence)[0]


@pytest.mark.parametrize(
    ("gained", "lost", "documents", "verdict"),
    [
        # No document differs among 40: Tango's bound is 1.645^2 / (40 + 1.645^2) = 6.3 points below the teacher.
        (0, 0, 40, "insufficient evidence"),
        (0, 0, 52, "passed"),
        (10, 12, 600, "passed"),
        (4, 60, 600, "failed"),
        (20, 38, 600, "insufficient evidence"),
    ],
)
def test_a_margin_passes_where_the_documents_show_that_no_more_is_lost(gained, lost, documents, verdict):
    gate = judged_by_margin(answered(gained, lost, documents), (gained - lost) / documents, margin=0.05)
    assert (gate.verdict, gate.limit, gate.margin) == (verdict, "at least teacher - 0.05", 0.05)
    assert (gate.documents_needed is not None) == (verdict == "insufficient evidence")


def test_insufficient_evidence_says_how_many_documents_would_decide():
    found = judged_by_margin(answered(20, 38, 600), -0.03, margin=0.05)
    # (1.645 + 0.842)^2 * (59 / 602 - 0.03^2) / 0.02^2 = 1,502.
    assert found.documents_needed == pytest.approx(1502, rel=0.01)
    few = judged_by_margin(answered(1, 2, 60), -1 / 60, margin=0.05)
    assert few.documents_needed > 60
    assert judged_by_margin(answered(0, 30, 600), -0.05, margin=0.05).documents_needed is None


def test_so_many_documents_do_decide_four_times_in_five():
    needed = judged_by_margin(answered(20, 38, 600), -0.03, margin=0.05).documents_needed
    generator = np.random.default_rng(0)
    passed = 0
    for _ in range(300):
        gained, lost, _ = generator.multinomial(needed, [20 / 600, 38 / 600, 542 / 600])
        gate = judged_by_margin(answered(gained, lost, needed), (gained - lost) / needed, margin=0.05)
        passed += gate.verdict == "passed"
    # Three binomial standard errors over 300 draws are 7%.
    assert passed / 300 == pytest.approx(0.8, abs=0.07)


def test_of_a_loss_less_is_better_and_of_a_ratio_the_margin_is_a_share():
    nats = np.random.default_rng(0).gamma(2, 50, size=200)
    tokens = np.full(200, 40.0)
    noise = np.random.default_rng(1).normal(0, 2, size=200)
    worse = {
        (LOSS, "difference"): of_sums(4 + noise, tokens, seed=0, direction="lower is better"),
        (LOSS, "ratio"): of_sums(1.02 * nats + noise / 10, nats, seed=0, direction="lower is better"),
    }
    gate = judged_by_margin(worse, 0.1, LOSS, margin=0.15)
    assert (gate.verdict, gate.limit) == ("passed", "at most teacher + 0.15")
    assert judged_by_margin(worse, 0.1, LOSS, margin=0.05).verdict == "failed"
    # RESULTS have 3.5 nats over 3.0.
    ratio = judged_by_margin(worse, 0.1, LOSS, margin=0.03, compare="ratio")
    assert (ratio.limit, ratio.value) == ("at most 1.03 x teacher", 3.5 / 3.0)


def test_a_measure_without_a_better_side_must_stay_near_on_both():
    own, teacher = (
        DocumentScores(np.random.default_rng(seed).normal(50, 4, 100), None, None, "no direction", share=False)
        for seed in (0, 1)
    )
    figure = "behaviour.generations_greedy_tokens.student.value"
    found = compare_documents("tokens", own, teacher, seed=0)
    student = {"value": 50.0, "n": 100, "difference_to_teacher": found.difference}
    results = RESULTS | {"behaviour": {"generations_greedy_tokens": {"student": student}}}
    evidence = {(figure, "difference"): found.evidence}
    verdicts = {
        margin: judge([Gate(figure=figure, relative_to="teacher", margin=margin)], results, evidence)[0]
        for margin in (5, 0.5)
    }
    assert verdicts[5].verdict == "passed" and verdicts[5].limit == "within 5 of teacher"
    assert verdicts[0.5].verdict == "insufficient evidence"


def test_a_margin_on_scores_that_nobody_compared_is_not_passed():
    gate = judge(
        [Gate(figure="behaviour.generations_greedy_tokens.student.value", relative_to="teacher", margin=1e9)], RESULTS
    )[0]
    assert (gate.value, gate.verdict) == (None, "insufficient evidence")


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"figure": "models.student.parameters", "relative_to": "teacher", "margin": 1}, "'models.student.parameters'"),
        (
            {"figure": "variants.onnx-int4.size_bytes", "relative_to": "torch-fp32", "margin": 1},
            "a margin is for models.NAME.held_out_loss_nats_per_token",
        ),
        ({"figure": PIQA, "relative_to": "teacher", "compare": "ratio", "margin": 0.1}, "by compare: difference"),
        ({"figure": "capability.piqa.student.stderr", "relative_to": "teacher", "margin": 0.1}, "how sure a score is"),
        (
            {"figure": "behaviour.calibration_error.student.value", "relative_to": "teacher", "margin": 0.1},
            "the difference of two is drawn towards 0, and would pass too often; gate calibration_brier",
        ),
        (
            {"figure": "behaviour.calibration_error.student.value", "relative_to": "teacher", "at_most": 0.05},
            "the difference of two is drawn towards 0",
        ),
        (
            {"figure": "behaviour.calibration_error.student.difference_to_teacher", "at_most": 0.05},
            "the difference of two is drawn towards 0",
        ),
    ],
)
def test_a_margin_on_what_no_document_compares_is_refused_before_anything_runs(gate, words):
    with pytest.raises(InputError, match=words):
        check_gates(recipe_with(gate))


def test_margins_on_what_is_compared_by_document_are_accepted():
    check_gates(
        recipe_with(
            {"figure": LOSS, "relative_to": "teacher", "margin": 0.1},
            {"figure": "models.student.bits_per_byte", "relative_to": "teacher", "compare": "ratio", "margin": 0.1},
            {"figure": PIQA, "relative_to": "teacher", "margin": 0.05, "confidence": 0.9},
            {"figure": "behaviour.stereoset_icat.student.value", "relative_to": "teacher", "margin": 5},
            {"figure": "behaviour.calibration_brier.student.value", "relative_to": "teacher", "margin": 0.1},
            {"figure": "variants.onnx-int4.bits_per_byte", "relative_to": "torch-fp32", "margin": 0.1},
        )
    )


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"margin": 0.1}, "add relative_to: teacher"),
        ({"margin": 0.0, "relative_to": "teacher"}, "greater than 0"),
        ({"margin": 0.1, "at_most": 1, "relative_to": "teacher"}, "exactly one of .*, got margin and at_most"),
        ({}, "exactly one of at_most, at_least and margin, got none"),
        ({"margin": 1.0, "compare": "ratio", "relative_to": "teacher"}, "as a ratio, allowed is below 1"),
        ({"at_most": 1, "confidence": 0.5}, "greater than 0.5"),
        ({"at_most": 1, "confidence": 1.0}, "less than 1"),
    ],
)
def test_a_gate_that_says_too_little_or_too_much_is_refused(limit, words):
    with pytest.raises(ValidationError, match=words):
        Gate(figure=PIQA, **limit)


def test_right_answers_of_a_variant_are_judged_beside_those_of_fp32():
    figure = "variants.onnx-int4.capability.piqa.value"
    gate = {"figure": figure, "relative_to": "torch-fp32", "margin": 0.05}
    check_gates(recipe_with(gate))
    figures = figures_of(recipe_with())
    assert "variants.onnx-int4.capability.pooled.difference_to_teacher" in figures
    assert "variants.torch-fp32.capability.piqa.value" in figures
    assert "variants.torch-fp32.capability.piqa.difference_to_teacher" not in figures
    score = {"value": 0.5, "n": 600, "difference_to_teacher": -0.03}
    int4 = RESULTS["variants"]["onnx-int4"] | {"capability": {"piqa": score}}
    results = RESULTS | {"variants": RESULTS["variants"] | {"onnx-int4": int4}}
    evidence = {(figure, "difference"): answered(20, 38, 600)[PIQA, "difference"]}
    found = judge([Gate(**gate)], results, evidence)
    assert (found[0].verdict, found[0].value) == ("insufficient evidence", -0.03)
    assert found[0].limit == "at least torch-fp32 - 0.05"
    assert list(variants_left_out(found)) == ["onnx-int4"]
    # Without its documents there is no proof, whatever the value.
    assert judge([Gate(figure=figure, at_least=0.1)], results)[0].verdict == "insufficient evidence"
