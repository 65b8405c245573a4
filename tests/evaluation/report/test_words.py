import pytest

from evaluation.report import findings, gate_words, words
from evaluation.report.markdown import escape, fenced
from evaluation.results import GateResult


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234567, "1,234,567"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1,234"), (9.9996, "10.0")]
    + [(-0.5, "−0.500"), (3.14159e-9, "3.14e−9"), (float("nan"), "not finite"), (None, "n/a")],
)
def test_a_number_has_three_significant_digits(value: float | None, text: str):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("size_bytes", 70_148_096, "70.1 MB"),
        ("peak_memory_bytes", 1_191_182_336, "1.19 GB"),
        ("load_seconds", 0.418, "0.42 s"),
        ("inter_token_latency_ms", 6.127, "6.13 ms"),
        ("top1_agreement", 0.71289, "71.3%"),
        ("kl_to_fp32", 3.1e-9, "3.1e−9"),
        ("kl_to_fp32", 0.0, "0.000"),
        ("decode_tokens_per_second", 163.212, "163"),
        ("parameters", 81_399_744, "81,399,744"),
    ],
)
def test_a_figure_has_the_unit_of_its_name(name: str, value: float, text: str):
    assert words.figure(name, value).replace("\u00a0", " ") == text


def test_durations_carry_over():
    assert [words.duration(seconds).replace("\u00a0", " ") for seconds in (59.4, 59.6, 3599.6)] == [
        "59.4 s", "1 min 0 s", "1 h 0 min"
    ]  # fmt: skip


def test_a_value_close_to_its_limit_is_told_apart_from_it():
    assert gate_words.spelled(0.7500004, "at most 0.75") == "0.7500004"
    assert gate_words.spelled(0.75, "at most 0.75") == "0.7500"


def test_a_value_is_spelled_as_its_limit_is():
    assert gate_words.spelled(-0.17, "at least teacher - 0.2") == "teacher - 0.1700"
    assert gate_words.spelled(1.12, "at most 1.2 x torch-fp32") == "1.120 x torch-fp32"
    assert gate_words.limit_number("at most torch-fp32 + 0.1") == 0.1
    assert gate_words.limit_number("at least teacher - 0.2") == -0.2
    assert gate_words.limit_number("at most 1e+06") == 1e6
    assert gate_words.limit_number("as small as may be") is None
    assert gate_words.spelled(-0.013, "within 0.02 of teacher") == "teacher - 0.01300"
    assert gate_words.limit_number("within 0.02 of teacher") == 0.02


@pytest.mark.parametrize(
    ("limit", "value", "room"),
    [
        ("at most 1.1 x torch-fp32", 1.05, 0.05),
        ("at least teacher - 0.02", -0.03, -0.01),
        ("within 0.02 of teacher", -0.03, -0.01),
        ("within 0.02 of teacher", 0.015, 0.005),
        ("as small as may be", 1.0, None),
    ],
)
def test_the_room_to_a_limit_is_negative_beyond_it(limit, value, room):
    assert gate_words.room(limit, value) == (None if room is None else pytest.approx(room))


def test_a_gate_says_how_sure_its_bounds_are_and_what_would_decide_it():
    gate = GateResult(
        figure="capability.piqa.student.value",
        value=-0.03,
        interval=(-0.051, -0.009),
        limit="at least teacher - 0.05",
        action="block",
        verdict="insufficient evidence",
        margin=0.05,
        confidence=0.95,
        documents_needed=1502,
    )
    bounds = gate_words.spelled_bounds(gate).replace("\u2212", "-").replace("\u00a0", " ")
    assert bounds == "one-sided 95% bounds -0.05100 to -0.009000"
    assert gate_words.settled_by(gate) == "about 1,500 documents would decide it"
    assert gate_words.settled_by(gate.model_copy(update={"documents_needed": None})) == ""
    assert gate_words.spelled_bounds(gate.model_copy(update={"confidence": None})).startswith("95% interval")
    assert findings.why(gate).endswith(
        "too wide to tell whether it is at least teacher - 0.05; about 1,500 documents would decide it"
    )


def test_markdown_escapes_what_it_would_read_as_its_own():
    assert escape("a|b <i> *c* `d` snake_case _e_ & [f](g)\nh") == (
        "a\\|b \\<i\\> \\*c\\* \\`d\\` snake_case \\_e\\_ &amp; \\[f\\](g) h"
    )


def test_a_fence_is_longer_than_the_backticks_inside():
    assert fenced("a ```` b\n", "yaml") == "`````yaml\na ```` b\n`````"


def test_what_a_gate_says_of_all_benchmarks_can_be_read_in_a_sentence():
    assert gate_words.subject("variants.onnx-int4.capability.pooled.value").name == "score pooled over benchmarks"
    assert gate_words.name("capability.pooled.student.value") == "student: score pooled over benchmarks"
