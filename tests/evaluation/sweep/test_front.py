"""Pareto fronts, worked out by hand on squared paper, with intervals and without."""

import random

from evaluation.separation import Measured
from evaluation.sweep.front import Contender, beats, front


def exact(*figures: float) -> Contender:
    """Figures that are known exactly."""
    return Contender(tuple(map(Measured, figures)), (0.0,) * len(figures))


def spread(*figures: tuple[float, float], floor: float = 0.0) -> Contender:
    """Figures, each with how far its interval reaches to either side."""
    found = tuple(Measured(value, (value - reach, value + reach)) for value, reach in figures)
    return Contender(found, (floor,) * len(figures))


def test_a_point_that_another_beats_is_gone():
    #   a is cheap and bad, b dear and good, c is dearer and worse than b, d is between a and b.
    points = {"b": exact(4.0, 1.0), "c": exact(5.0, 2.0), "a": exact(1.0, 5.0), "d": exact(2.0, 3.0)}
    assert front(points) == ("a", "d", "b")


def test_as_good_in_one_and_better_in_the_other_is_enough_to_beat():
    assert front({"a": exact(1.0, 2.0), "b": exact(1.0, 3.0), "c": exact(2.0, 2.0)}) == ("a",)


def test_equals_stand_beside_each_other():
    assert front({"a": exact(1.0, 2.0), "b": exact(1.0, 2.0), "c": exact(3.0, 3.0)}) == ("a", "b")


def test_one_alone_and_none():
    assert front({"a": exact(7.0, 7.0)}) == ("a",)
    assert front({}) == ()


def test_four_figures_at_once():
    # Nothing beats c: it is worst in three and best in the last.
    points = {"a": exact(1, 1, 5, 5), "b": exact(2, 2, 6, 5), "c": exact(9, 9, 9, 1)}
    assert front(points) == ("a", "c")


def test_a_lead_in_every_figure_beats_nothing_where_all_intervals_meet():
    a, b = spread((1.0, 0.2), (10.0, 1.0)), spread((1.1, 0.2), (11.0, 1.0))
    assert not beats(a, b) and not beats(b, a)
    assert front({"a": a, "b": b}) == ("a", "b")


def test_one_figure_whose_intervals_are_apart_is_enough_where_the_others_are_no_worse():
    a, b = spread((1.0, 0.2), (10.0, 0.4)), spread((1.1, 0.2), (11.0, 0.4))
    assert beats(a, b) and front({"a": a, "b": b}) == ("a",)


def test_a_figure_that_is_worse_as_measured_keeps_both_though_its_intervals_meet():
    a, b = spread((1.0, 0.2), (10.0, 0.1)), spread((0.99, 0.2), (20.0, 0.1))
    assert not beats(a, b) and front({"a": a, "b": b}) == ("b", "a")


def test_intervals_apart_by_less_than_the_noise_floor_beat_nothing():
    slow, fast = ((1.0, 0.0), (10.4, 0.1)), ((1.0, 0.0), (10.0, 0.1))
    assert beats(spread(*fast, floor=0.03), spread(*slow, floor=0.03))
    assert not beats(spread(*fast, floor=0.05), spread(*slow, floor=0.05))
    # Of two machines the noisier one decides.
    assert not beats(spread(*fast, floor=0.0), spread(*slow, floor=0.05))


def test_what_is_gone_was_beaten_and_what_is_kept_beats_nothing_of_itself():
    numbers = random.Random(3)
    points = {
        str(name): spread(*((numbers.randrange(12), numbers.choice((0.0, 0.4, 1.5))) for _ in range(3)), floor=0.05)
        for name in range(80)
    }
    kept = front(points)
    assert 0 < len(kept) < 80
    assert not [one for one in kept for other in kept if beats(points[one], points[other])]
    assert all(any(beats(one, points[other]) for one in points.values()) for other in points if other not in kept)
