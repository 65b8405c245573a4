"""How the tables of the studies say a number."""

from benchmarks.figures import difference


def test_a_difference_is_signed_with_its_interval():
    assert difference(-0.0123, (-0.02, 0.005)) == "-0.012 (-0.020 to +0.005)"
    assert difference(0.0345, (0.01, 0.06), digits=1, scale=100, unit=" points") == "+3.5 points (+1.0 to +6.0)"
    assert difference(0.25, None) == "+0.250"
