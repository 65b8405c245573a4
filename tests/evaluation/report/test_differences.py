import pytest

from evaluation.report.differences import bounds, chance, difference, distance, seen, signed
from evaluation.report.measure_words import behaviour_measure, capability_measure
from evaluation.results import Score

TEACHER = Score(value=0.6, stderr=0.03, n=99)


def paired(value: float, low: float, high: float) -> dict[str, Score]:
    difference_to_teacher = value - TEACHER.value
    student = Score(value=value, stderr=0.04, n=99, difference_to_teacher=difference_to_teacher)
    return {"teacher": TEACHER, "student": student.model_copy(update={"difference_interval": (low, high)})}


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [
        (-0.2, -0.01, "below the teacher"),
        (0.01, 0.2, "above the teacher"),
        (-0.2, 0.01, "not distinguishable at this n"),
        (-0.2, 0.0, "not distinguishable at this n"),
    ],
)
def test_a_difference_is_called_one_only_where_its_interval_leaves_zero_out(low: float, high: float, reading: str):
    found = difference(paired(0.5 if low < 0 else 0.7, low, high))
    assert found is not None and found.reading == reading


def test_a_difference_without_an_interval_is_none_however_small_the_standard_errors():
    # 1.96 * sqrt(0.03^2 + 0.04^2) = 0.098 would leave zero out.
    student = Score(value=0.5, stderr=0.04, n=99, difference_to_teacher=-0.1)
    found = difference({"teacher": TEACHER, "student": student})
    assert found is not None and found.value == -0.1 and found.interval is None and not found.distinguishable
    assert found.reading == "no interval, so it may be chance"
    assert plain(signed(capability_measure("piqa"), found)) == "-10.0 points, no interval"


def test_what_nobody_compared_has_no_difference():
    assert difference({"student": TEACHER}) is None and difference({"teacher": TEACHER}) is None
    assert difference({"teacher": TEACHER, "student": Score(value=0.5, stderr=0.04, n=99)}) is None


def test_shares_differ_in_points_and_lengths_in_tokens():
    found = difference(paired(0.548, -0.083, -0.021))
    assert found is not None
    assert plain(distance(capability_measure("piqa"), found)) == "5.2 points (2.1 to 8.3)"
    assert plain(bounds(capability_measure("piqa"), found)) == "-8.3 to -2.1"
    longer = difference(
        {
            "teacher": Score(value=31.0, stderr=4, n=24),
            "student": Score(value=38.0, stderr=4, n=24, difference_to_teacher=7.0, difference_interval=(-1, 15)),
        }
    )
    assert longer is not None
    assert plain(signed(behaviour_measure("generations_greedy_tokens"), longer)) == "+7.0 tokens (-1.0 to +15.0)"


def test_a_difference_that_the_number_of_comparisons_explains_is_not_called_one():
    scores = paired(0.5, -0.2, -0.01)
    among_few, among_many = (
        difference({**scores, "student": scores["student"].model_copy(update={"p_value": 0.03, "p_value_holm": holm})})
        for holm in (0.03, 0.33)
    )
    assert among_few is not None and among_few.distinguishable and among_few.reading == "below the teacher"
    assert among_many is not None and not among_many.distinguishable
    assert among_many.reading == "below the teacher by itself, not among all"
    assert chance(among_many) == "p 0.030, 0.33 among all (Holm)"


def test_a_suite_says_what_its_documents_see():
    scores = paired(0.5, -0.2, -0.01)
    seeing = scores["student"].model_copy(update={"minimum_detectable_difference": 0.041})
    found = difference({**scores, "student": seeing})
    assert found is not None
    assert plain(seen(capability_measure("piqa"), found, 200)) == (
        "with 200 documents this suite sees differences above 4.1 points"
    )
    blind = difference(scores)
    assert blind is not None
    assert plain(seen(capability_measure("piqa"), blind, 3)) == "3 documents are too few to show any difference"
