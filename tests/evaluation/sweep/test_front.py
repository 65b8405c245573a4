"""Pareto fronts, worked out by hand on squared paper."""

import random

from evaluation.sweep.front import front


def test_a_point_that_another_beats_is_gone():
    #   a is cheap and bad, b dear and good, c is dearer and worse than b, d is between a and b.
    points = {"b": (4.0, 1.0), "c": (5.0, 2.0), "a": (1.0, 5.0), "d": (2.0, 3.0)}
    assert front(points) == ("a", "d", "b")


def test_as_good_in_one_and_better_in_the_other_is_enough_to_beat():
    assert front({"a": (1.0, 2.0), "b": (1.0, 3.0), "c": (2.0, 2.0)}) == ("a",)


def test_equals_stand_beside_each_other():
    assert front({"a": (1.0, 2.0), "b": (1.0, 2.0), "c": (3.0, 3.0)}) == ("a", "b")


def test_one_alone_and_none():
    assert front({"a": (7.0, 7.0)}) == ("a",)
    assert front({}) == ()


def test_three_costs_at_once():
    # Nothing beats c: it is worst in two and best in the third.
    assert set(front({"a": (1, 1, 5), "b": (2, 2, 6), "c": (9, 9, 1)})) == {"a", "c"}


def test_what_is_kept_beats_all_that_is_gone_and_nothing_of_itself():
    numbers = random.Random(3)
    points = {str(name): (numbers.randrange(12), numbers.randrange(12)) for name in range(60)}
    kept = front(points)

    def beats(one: str, other: str) -> bool:
        (a, b), (c, d) = points[one], points[other]
        return a <= c and b <= d and (a < c or b < d)

    assert not [one for one in kept for other in kept if beats(one, other)]
    assert all(any(beats(one, other) for one in kept) for other in points if other not in kept)
