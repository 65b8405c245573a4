import pytest

from evaluation.evidence import of_share, of_sums
from evaluation.gate_figures import check_documents, check_gates, figures_of
from evaluation.gates import blocks_run, judge, variants_left_out
from stillhouse.errors import InputError
from stillhouse.recipe.gates import Gate
from tests.evaluation.gate_results import RESULTS, recipe_with


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


def test_a_ratio_of_two_scores_is_no_evidence_and_refused_before_the_run():
    asked = {"relative_to": "teacher", "compare": "ratio", "at_least": 0.5}
    assert judged("capability.arc_easy.student.value", **asked).verdict == "insufficient evidence"
    with pytest.raises(InputError, match="nothing shows how sure that is"):
        check_gates(recipe_with({"figure": "capability.piqa.student.value", **asked}))


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
        Gate(figure="variants.onnx-int4.bits_per_byte_ratio_to_fp32", at_most=1.5),
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


OWN_TOKENS = {
    "student": {"kind": "fresh", "layers": 2, "tokenizer": {"kind": "trained", "vocabulary": 500}},
    "distillation": {"alpha": 0},
}


@pytest.mark.parametrize(
    "gate",
    [
        {"figure": "models.student.held_out_loss_above_teacher_nats_per_token", "at_most": 1},
        {"figure": "models.student.kl_to_teacher_nats_per_token", "at_most": 1},
        {"figure": "models.pruned.top1_agreement_with_teacher", "at_least": 0.5},
        {"figure": "models.student.held_out_loss_nats_per_token", "relative_to": "teacher", "at_most": 1},
        {"figure": "models.student.held_out_loss_nats_per_token", "relative_to": "teacher", "margin": 1},
    ],
)
def test_what_compares_tokens_is_refused_where_the_student_has_its_own(gate):
    check_gates(recipe_with(gate))
    with pytest.raises(InputError, match=f"'{gate['figure']}' with the teacher's token by token.*models.student.bits"):
        check_gates(recipe_with(gate, **OWN_TOKENS))


def test_bits_per_byte_compare_models_with_other_tokens():
    check_gates(
        recipe_with(
            {"figure": "models.student.bits_per_byte", "relative_to": "teacher", "margin": 0.1},
            {"figure": "models.student.bits_per_byte", "relative_to": "teacher", "compare": "ratio", "at_most": 1.2},
            {"figure": "models.student.held_out_loss_nats_per_token", "at_most": 5},
            {"figure": "models.student.parameters", "relative_to": "teacher", "compare": "ratio", "at_most": 0.5},
            **OWN_TOKENS,
        )
    )


def test_a_comparison_on_held_out_text_does_not_pass_by_a_bare_value():
    """RESULTS have 1.2 bits over 1.0, and no document that says how sure that is."""
    figure = "models.student.bits_per_byte"
    asked = {"relative_to": "teacher", "compare": "ratio", "at_most": 2}
    assert judged(figure, **asked).verdict == "insufficient evidence"
    proof = of_sums([1.1, 1.2, 1.3, 1.2, 1.1, 1.3], [1.0] * 6, seed=0)
    assert judged(figure, {(figure, "ratio"): proof}, **asked).verdict == "passed"


@pytest.mark.parametrize("figure", ["models.student.held_out_loss_nats_per_token", "variants.onnx-int4.bits_per_byte"])
def test_two_documents_prove_nothing_of_held_out_text(figure):
    few = {(figure, "alone"): of_sums([1.0, 1.1], [1.0, 1.0], seed=0)}
    assert judged(figure, few, at_most=100).verdict == "insufficient evidence"
    assert judged(figure, at_most=100).verdict == "insufficient evidence"
    more = {(figure, "alone"): of_sums([1.0, 1.1, 1.2, 1.0, 1.1, 1.2], [1.0] * 6, seed=0)}
    assert judged(figure, more, at_most=100).verdict == "passed"


def test_a_variant_that_agrees_with_the_reference_everywhere_passes():
    """No document differs, so there is no interval: thousands of tokens stand behind it all the same."""
    figure = "variants.onnx-int4.top1_agreement"
    results = {"variants": {"onnx-int4": {"top1_agreement": 1.0}}}
    gate = Gate(figure=figure, at_least=0.99)
    verdicts = [
        judge([gate], results, {(figure, "alone"): of_sums([9.0] * count, [9.0] * count, seed=0)})[0].verdict
        for count in (6, 3)
    ]
    assert verdicts == ["passed", "insufficient evidence"]


def test_a_comparison_on_held_out_text_that_no_document_shows_is_refused():
    gate = {"figure": "variants.onnx-int4.kl_to_fp32", "relative_to": "torch-fp32", "at_most": 1}
    with pytest.raises(InputError, match="nothing shows how sure"):
        check_gates(recipe_with(gate))


def test_calibration_error_is_a_figure_of_every_model_and_no_comparison():
    figures = figures_of(recipe_with())
    assert {f"models.{model}.calibration_error" for model in ("teacher", "student")} <= figures
    assert "models.teacher.top1_agreement_with_teacher" not in figures


@pytest.mark.parametrize(
    "number",
    ["p_value", "p_value_holm", "minimum_detectable_difference", "lost", "gained", "stderr", "n"],
)
@pytest.mark.parametrize("owner", ["capability.piqa.student", "variants.onnx-int4.capability.piqa"])
def test_what_says_how_sure_a_score_is_cannot_be_limited(owner, number):
    with pytest.raises(InputError, match=f"'{owner}.{number}', which says how sure.*set figure: {owner}.value"):
        check_gates(recipe_with({"figure": f"{owner}.{number}", "at_most": 0.1}))


def test_a_gate_that_so_few_held_out_documents_cannot_decide_is_refused_before_training():
    limit = {"figure": "variants.onnx-int4.bits_per_byte", "at_most": 2}
    with pytest.raises(InputError, match="bits_per_byte', and the held-out split holds 4 documents: fewer than 5"):
        check_documents(recipe_with(limit), {"a": 1, "b": 3})
    check_documents(recipe_with(limit), {"a": 1, "b": 4})
    check_documents(recipe_with({**limit, "action": "warn"}), {"a": 1, "b": 3})
    check_documents(recipe_with({"figure": "capability.piqa.student.value", "at_least": 0}), {"a": 1, "b": 3})
