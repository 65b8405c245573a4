"""Alpha and temperature that follow the student's agreement with its teacher, in trainings."""

import pytest

from stillhouse.recipe.distillation import Distillation
from stillhouse.training.coefficients import Course
from tests.stillhouse.training.trainings import FOLLOWING, left, run

LEARNS = {"alpha": {**FOLLOWING, "enough": 0.2}, "steps": 30, "learning_rate": 1e-2, "temperature": 1.0}


def test_alpha_moves_as_agreement_rises_and_ends_where_it_is_enough(apart, tmp_path):
    training = left(run(apart, tmp_path / "a", **LEARNS)).history["training"]
    alphas, agreements = [entry["alpha"] for entry in training], [entry["agreement"] for entry in training]
    assert alphas[:2] == [0.9, 0.9] and alphas == sorted(alphas, reverse=True) and alphas[-1] < 0.5
    assert sum(agreements[-8:]) > sum(agreements[:8])


def test_alpha_stays_where_the_student_does_not_learn(apart, tmp_path):
    stuck = left(run(apart, tmp_path / "a", **LEARNS | {"learning_rate": 1e-9, "steps": 8})).history["training"]
    # Agreement differs between steps as their texts do; that is all that may move it.
    assert min(entry["alpha"] for entry in stuck) > 0.85


def test_a_temperature_follows_as_well_and_a_run_that_asks_for_neither_counts_nothing(apart, tmp_path):
    warm = {**FOLLOWING, "start": 4, "end": 1, "enough": 0.05}
    followed = left(run(apart, tmp_path / "a", alpha=1.0, temperature=warm, steps=20)).history["training"]
    assert followed[0]["temperature"] == 4 and followed[-1]["temperature"] < 3
    plain = left(run(apart, tmp_path / "b", alpha=1.0, steps=1)).history["training"]
    assert "agreement" not in plain[0]


def test_agreement_is_not_counted_where_the_teacher_is_no_longer_asked(apart, tmp_path):
    done = {**FOLLOWING, "enough": 1e-6, "end": 0}
    training = left(run(apart, tmp_path / "a", alpha=done, steps=4)).history["training"]
    assert [entry["alpha"] for entry in training] == [0.9, 0.9, 0, 0]
    assert ["agreement" in entry for entry in training] == [True, True, False, False]


def test_a_training_that_turns_out_too_short_to_follow_anything_says_so(caplog):
    Course(Distillation(alpha={"shape": "agreement", "enough": 0.5}), num_steps=11)
    assert not caplog.text
    Course(Distillation(alpha={"shape": "agreement", "enough": 0.5}), num_steps=10)
    assert "after 10 steps, and this training has 10: it stays where it starts" in caplog.text


@pytest.mark.parametrize(("agreement", "is_told"), [(0.45, False), (0.59, True)])
def test_an_agreement_that_begins_beyond_enough_is_told_once(agreement, is_told, caplog):
    """As of a start that was fitted to the text: alpha would be at its end before anything is learned."""
    course = Course(Distillation(alpha={"shape": "agreement", "enough": 0.5}), num_steps=40)
    for _ in range(20):
        course.learn(1.0, agreement)
    said = "agree at 59% of the tokens from the beginning, and alpha follows that until it is 50%"
    assert caplog.text.count(said) == is_told and (course.at(20).alpha == pytest.approx(0.1)) == is_told


COOLING = {"shape": "agreement", "start": 2, "end": 1, "enough": 0.5}


def test_an_alpha_without_ends_goes_from_the_teacher_to_the_text():
    for shape in ({}, {"shape": "cosine"}, {"shape": "agreement", "enough": 0.5}):
        alpha = Distillation(alpha=shape).alpha
        assert (alpha.start, alpha.end) == (0.9, 0.1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"alpha": {"shape": "agreement"}}, "enough"),
        ({"alpha": {"shape": "agreement", "enough": 1.5}}, "less than or equal to 1"),
        ({"alpha": {"shape": "agreement", "enough": 0.5, "start": 0}}, "the teacher is not asked"),
        ({"alpha": {"start": 1.5}}, "alpha moves from 1.5 to 0.1; it is a share"),
        ({"alpha": {"shape": "linear", "enough": 0.5}}, "Extra inputs"),
        ({"temperature": {}}, "start"),
        ({"temperature": {"shape": "agreement", "start": 2, "end": 0, "enough": 0.5}}, "must stay above 0"),
        (
            {"alpha": {"shape": "agreement", "enough": 0.5}, "steps": 10},
            "alpha follows .* the training has 10, so",
        ),
        ({"temperature": COOLING | {"smoothing_steps": 4}, "steps": 4}, "temperature follows .* it would never move"),
        (
            {"temperature": COOLING, "alpha": 0},
            "temperature moves from 2 to 1, and alpha is 0, so that nothing is comp",
        ),
        ({"temperature": COOLING, "alpha": 0, "features": {}}, "temperature moves from 2 to 1, and alpha is 0"),
        ({"on_policy": {"share": 1}, "loss": {"kind": "taid"}}, "TAID's t would be a straight line"),
        # What the teacher is asked about then is the student's own text, of which neither goes by.
        ({"on_policy": {"share": 0.5}, "alpha": 0, "loss": {"kind": "taid"}}, "alpha is 0, .* give alpha a value"),
        (
            {"on_policy": {"share": 0.5}, "alpha": 0, "temperature": COOLING},
            "alpha is 0, so that the teacher reads the student's own text alone, .* and temperature would not move",
        ),
    ],
)
def test_what_cannot_move_is_refused(asked, words):
    with pytest.raises(ValueError, match=words):
        Distillation(**asked)
