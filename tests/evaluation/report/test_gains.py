import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import gains
from evaluation.results import Results


@pytest.fixture
def results() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "results.json").read_text(encoding="utf-8"))


def plain(sentences: Any) -> str:
    return " ".join(sentences).replace("\u00a0", " ").replace("\u2212", "-")


def lost(results: dict[str, Any]) -> str:
    return plain(gains.lost(Results.model_validate(results)))


def score(value: float, difference: float | None = None, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    return {"value": value, "stderr": 0.04, "n": 99} | (
        {} if difference is None else {"difference_to_teacher": difference, "difference_interval": interval}
    )


def test_what_was_gained_is_measured_against_the_teacher_and_against_torch(results: dict[str, Any]):
    gained = plain(gains.gained(Results.model_validate(results)))
    # 1 - 81399744 / 134515008 = 39.5%; 70148096 / 327745536 = 21.4%; 156.5 / 40.3 = 3.9.
    assert "81,399,744 parameters instead of the teacher's 134,515,008: 39.5% fewer, 15 layers instead of 30." in gained
    assert "that is 21.4% of torch-fp32's size and 3.9\u00d7 its decoding speed." in gained


def test_the_pooled_difference_is_a_sentence_with_its_interval(results: dict[str, Any]):
    teacher, student = score(0.6), score(0.548, -0.052, (-0.083, -0.021))
    results["capability"]["pooled"] = {"teacher": teacher, "student": student | {"n": 600}}
    told = "Pooled over 6 benchmarks, 600 documents, the student answers 5.2 points (2.1 to 8.3) fewer rightly than"
    assert told in lost(results)


def test_a_pooled_difference_within_its_interval_is_called_none(results: dict[str, Any]):
    results["capability"]["pooled"] = {"teacher": score(0.6), "student": score(0.58, -0.02, (-0.05, 0.01))}
    told = lost(results)
    assert "about as many rightly as the teacher: -2.0 points (-5.0 to +1.0), not distinguishable at this n" in told


def test_only_an_interval_without_zero_makes_a_difference(results: dict[str, Any]):
    results["behaviour"] = {}
    results["capability"] = {
        "piqa": {"teacher": score(0.8), "student": score(0.7, -0.1, (-0.2, -0.01))},
        "boolq": {"teacher": score(0.8), "student": score(0.7, -0.1, (-0.2, 0.01))},
        "sciq": {"student": score(0.5)},
    }
    told = lost(results)
    assert "PIQA: 10.0 points (1.0 to 20.0) below the teacher (n 99)." in told
    assert "BoolQ: not distinguishable at this n." in told and "SciQ" not in told


def test_behaviour_that_moved_says_which_way_is_better(results: dict[str, Any]):
    told = lost(results)
    assert "Greedy answers, repetition: 19.0 points (6.0 to 31.0) above the teacher (n 24); less is better." in told
    assert "11 of 15 measures of behaviour: not distinguishable at this n." in told


def test_what_a_variant_lost_is_told_against_torch(results: dict[str, Any]):
    told = plain(gains.variants_lost(Results.model_validate(results)))
    assert "onnx-fp32: nothing measurable." in told
    assert "bnb-int8: +0.6% bits per byte (+0.3% to +0.9%); the same most likely token at 95.1% of positions." in told
    assert "torch-fp32:" not in told and "bnb-nf4" not in told
