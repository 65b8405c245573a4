"""What a training says of itself, where it limits what its figures tell."""

from evaluation.report.limits import of_training


def history(*norms: float) -> dict:
    return {"training": [{"step": step, "gradient_norm": norm} for step, norm in enumerate(norms, start=1)]}


def test_a_training_that_was_not_steady_is_told_with_its_largest_jump():
    (said,) = of_training(history(*[2.0] * 10, 107.0, *[2.0] * 5))
    assert "the gradient jumped at 1 of 16 steps" in said and "to 107 at step 11 where 2 is usual" in said


def test_of_a_steady_training_and_of_one_without_norms_nothing_is_said():
    assert list(of_training(history(*[2.0] * 30))) == []
    assert list(of_training({"training": [{"step": 1}] * 30})) == []
