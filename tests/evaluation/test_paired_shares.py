import numpy as np
import pytest

from evaluation.paired_shares import (
    PairedTable,
    agresti_min_interval,
    design_effect,
    minimum_detectable_difference,
    pool,
    score_bounds,
    score_interval,
    tabulate,
    wilson_interval,
)
from evaluation.statistics import exact_mcnemar

Z_90 = 1.6448536


def test_a_table_counts_what_one_model_alone_answers_rightly():
    assert tabulate([1, 0, -1, -1, 0]) == PairedTable(gained=1, lost=2, documents=5)
    assert tabulate([1, 0, -1, -1, 0]).difference == -0.2


def test_the_interval_of_two_shares_is_that_of_agresti_and_min():
    # Of 8 documents the model alone has 1 right and the teacher alone 3: (1.5 - 3.5) / 10 = -0.2 in the middle, and
    # 1.96 * sqrt((0.5 - 0.04) / 10) = 0.420 to either side.
    interval = agresti_min_interval([PairedTable(1, 3, 8)])
    assert interval == (pytest.approx(-0.6204, abs=1e-4), pytest.approx(0.2204, abs=1e-4))


def test_no_difference_among_few_documents_is_no_proof_that_nothing_differs():
    low, high = agresti_min_interval([PairedTable(0, 0, 6)])
    # Half a document to either side: 1.96 * sqrt((0.5 + 0.5) / 8 / 8) = 0.245.
    assert (low, high) == (-high, pytest.approx(0.245, abs=1e-3))


@pytest.mark.parametrize(
    ("gained", "lost", "documents"), [(0, 1, 44), (5, 9, 60), (0, 0, 25), (12, 2, 14), (3, 0, 200)]
)
def test_tangos_bounds_are_where_the_score_test_of_a_difference_is_on_its_level(gained, lost, documents):
    """The likelihood under a given difference is maximized by brute force, not by Tango's formula."""
    for bound, side in zip(score_interval(PairedTable(gained, lost, documents), level=0.9), (1, -1), strict=True):
        if abs(bound) > 0.999:
            continue
        least = max(0.0, -bound)
        lost_share = np.linspace(least, (1 - bound) / 2, 400_001)[1:-1]
        gained_share, same = lost_share + bound, 1 - 2 * lost_share - bound
        likelihood = (documents - gained - lost) * np.log(same)
        likelihood += gained * np.log(gained_share) if gained else 0
        likelihood += lost * np.log(lost_share) if lost else 0
        q = lost_share[likelihood.argmax()]
        variance = documents * (2 * q + bound - bound**2)
        assert side * (gained - lost - documents * bound) / np.sqrt(variance) == pytest.approx(Z_90, abs=0.01)


def test_tangos_interval_of_no_difference_has_a_width_and_a_mirrored_table_a_mirrored_one():
    low, high = score_interval(PairedTable(0, 0, 50), level=0.9)
    assert -low == pytest.approx(high) == pytest.approx(Z_90**2 / (50 + Z_90**2), abs=1e-5)
    one, other = (score_interval(PairedTable(*counts, 40), level=0.95) for counts in ((7, 2), (2, 7)))
    assert one == (pytest.approx(-other[1]), pytest.approx(-other[0]))


def test_documents_that_share_a_passage_count_as_fewer():
    clusters = np.repeat(np.arange(40), 5)
    together = np.repeat(np.random.default_rng(0).choice([-1, 0, 1], 40, p=[0.2, 0.7, 0.1]), 5)
    assert design_effect(together, clusters) == pytest.approx(5)
    table = tabulate(together, clusters)
    alone = PairedTable(table.gained, table.lost, 200)
    low, high = score_interval(table, level=0.9)
    narrow = score_interval(alone, level=0.9)
    assert high - low > 2 * (narrow[1] - narrow[0])
    # Nothing says whether clusters matter where no document differs, so they do in full.
    assert design_effect(np.zeros(200), clusters) == pytest.approx(5)
    assert design_effect(together, np.arange(200)) == pytest.approx(1)


def test_a_pooled_table_is_no_surer_than_its_strata():
    tables = [PairedTable(10, 0, 50, 1.5), PairedTable(0, 10, 150, 1.0)]
    whole = pool(tables)
    assert (whole.gained, whole.lost, whole.documents) == (10, 10, 200)
    assert 1.0 < whole.design_effect < 1.5
    low, high = agresti_min_interval(tables)
    assert high - low <= 2 * 1.96 * np.sqrt(whole.variance)


@pytest.mark.parametrize(
    ("table", "power"),
    [
        (PairedTable(10, 14, 200), 0.83),
        (PairedTable(60, 60, 600), 0.81),
        # Where all that differs must differ one way, Connor's normal approximation asks for more than it takes.
        (PairedTable(3, 1, 100), 0.92),
    ],
)
def test_the_minimum_detectable_difference_is_found_at_least_four_times_in_five(table, power):
    difference = minimum_detectable_difference(table)
    share = max((table.gained + table.lost + 1) / (table.documents + 2), difference)
    chances = [(share - difference) / 2, (share + difference) / 2, 1 - share]
    draws = np.random.default_rng(0).multinomial(table.documents, chances, size=4000)
    counts, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    found = sum(time for (gained, lost), time in zip(counts, times, strict=True) if exact_mcnemar(gained, lost) < 0.05)
    # Three binomial standard errors over 4,000 draws are 1.9%.
    assert found / 4000 == pytest.approx(power, abs=0.019) and found / 4000 > 0.78


def test_what_few_documents_see_is_little():
    # Six documents that differ, all the same way, are the fewest that McNemar's test calls a difference.
    assert minimum_detectable_difference(PairedTable(0, 0, 5)) is None
    few, many = (minimum_detectable_difference(PairedTable(0, 0, count)) for count in (50, 2000))
    assert 0.1 < few < 0.25 and 0.002 < many < 0.01


def test_wilsons_interval_of_all_right_has_a_width():
    # z^2 / (n + z^2) at 6 of 6.
    assert wilson_interval(1.0, 6) == (pytest.approx(0.6097, abs=1e-4), pytest.approx(1.0))


def rejected(chances: list[float], documents: int, margin: float, side: int) -> float:
    """Share of drawn tables whose Tango bound at 95% lies within the margin (or, with side -1, beyond it)."""
    draws = np.random.default_rng(1).multinomial(documents, chances, size=20_000)
    counts, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    low, high = score_bounds(counts[:, 0], counts[:, 1], documents, level=0.9)
    decided = low >= -margin if side > 0 else high < -margin
    return float(times[decided].sum() / 20_000)


@pytest.mark.parametrize("documents", [100, 400, 1000])
@pytest.mark.parametrize("discordance", [0.06, 0.15, 0.3])
def test_a_student_that_is_worse_by_the_margin_passes_no_more_often_than_one_in_twenty(discordance, documents):
    margin = 0.05
    at_margin = [(discordance - margin) / 2, (discordance + margin) / 2, 1 - discordance]
    # Three binomial standard errors over 20,000 draws are 0.5%.
    assert rejected(at_margin, documents, margin, 1) < 0.05 + 0.005
    # With 100 documents of which 6 differ, all but all of them lost, Tango's test fails 6.5% instead of 5%.
    assert rejected(at_margin, documents, margin, -1) < (0.07 if documents * discordance < 10 else 0.05 + 0.005)


def test_a_student_as_good_as_its_teacher_passes_as_often_as_a_power_calculation_says():
    # Normal approximation: power = P(z < margin / sqrt(discordance / n) - 1.645) = P(z < 1.517) = 93.5%.
    assert rejected([0.05, 0.05, 0.9], 1000, 0.03162, 1) == pytest.approx(0.935, abs=0.02)
    assert rejected([0.05, 0.05, 0.9], 1000, 0.03162, -1) < 0.001
