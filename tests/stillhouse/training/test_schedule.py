import pytest

from stillhouse.recipe.distillation import Distillation
from stillhouse.training.schedule import learning_rate

SETTINGS = Distillation(learning_rate=1.0, warmup_steps=4, final_learning_rate_share=0.1)


def test_warm_up_is_linear_and_reaches_the_peak():
    assert [learning_rate(SETTINGS, step, 100) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_the_cosine_ends_at_its_share_of_the_peak():
    assert learning_rate(SETTINGS, 4, 100) == pytest.approx(1.0)
    assert learning_rate(SETTINGS, 99, 100) == pytest.approx(0.1)
    middle = learning_rate(SETTINGS, 4 + 95 // 2, 100)
    assert 0.5 < middle < 0.6


def test_a_warm_up_longer_than_the_training_still_reaches_the_peak():
    rates = [learning_rate(SETTINGS, step, 6) for step in range(6)]
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
