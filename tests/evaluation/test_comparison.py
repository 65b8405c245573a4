import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.comparison import (
    compare_behaviour,
    compare_capability,
    difference_of_shares,
    difference_to_teacher,
)


def test_where_all_documents_differ_alike_no_interval_is_made_up():
    assert difference_to_teacher([1, 5, 2], [1, 5, 2], seed=0) == (0.0, None)
    assert difference_to_teacher([0, 1, 0, 1], [0.5, 1.5, 0.5, 1.5], seed=0) == (-0.5, None)


def test_the_interval_holds_the_difference_and_is_that_of_its_seed():
    own, teacher = [1, 0, 0, 1, 0, 1, 0, 0] * 5, [1, 1, 0, 1, 0, 1, 1, 0] * 5
    difference, interval = difference_to_teacher(own, teacher, seed=1)
    assert difference == -0.25
    # Standard deviation 0.433 over 40 documents: 1.96 * 0.433 / sqrt(40) = 0.134 to either side.
    assert interval == (pytest.approx(-0.384, abs=0.03), pytest.approx(-0.116, abs=0.03))
    assert difference_to_teacher(own, teacher, seed=1) == (difference, interval)


def test_unequal_numbers_of_documents_are_refused():
    with pytest.raises(ValueError, match="the model has 3 values and the teacher 2"):
        difference_to_teacher([1, 0, 1], [1, 0], seed=0)


def test_the_interval_of_two_shares_is_that_of_agresti_and_min():
    # Of 8 documents the model alone has 1 right and the teacher alone 3: (1.5 - 3.5) / 10 = -0.2 in the middle, and
    # 1.96 * sqrt((0.5 - 0.04) / 10) = 0.420 to either side.
    own, teacher = [1, 0, 0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 0, 0]
    difference, interval = difference_of_shares({"a": own}, {"a": teacher})
    assert difference == -0.25
    assert interval == (pytest.approx(-0.6204, abs=1e-4), pytest.approx(0.2204, abs=1e-4))


@pytest.mark.parametrize("right", [[1] * 6, [0] * 6, [1, 0] * 3])
def test_a_few_documents_that_agree_are_no_proof_that_nothing_differs(right):
    difference, (low, high) = difference_of_shares({"a": right}, {"a": right})
    assert (difference, low) == (0.0, -high)
    # Half a document to either side: 1.96 * sqrt((0.5 + 0.5) / 8 / 8) = 0.245.
    assert high == pytest.approx(0.245, abs=1e-3)


def test_the_interval_of_shares_misses_the_truth_as_seldom_as_it_says():
    """A bootstrap misses it in nearly half of the draws where a difference is rare and documents are few."""
    generator = np.random.default_rng(0)
    for gained, lost, count in ((0.01, 0.04, 25), (0.1, 0.15, 50), (0.02, 0.02, 100)):
        missed = 0
        for _ in range(1000):
            found = generator.choice(3, size=count, p=[gained, lost, 1 - gained - lost])
            own, teacher = (found == 0).astype(int).tolist(), (found == 1).astype(int).tolist()
            low, high = difference_of_shares({"a": own}, {"a": teacher})[1]
            missed += not low <= gained - lost <= high
        # 5% are meant; three of its standard errors over 1,000 draws are 2%.
        assert missed / 1000 < 0.07, (gained, lost, count)


def test_pooling_keeps_each_benchmarks_weight():
    own, teacher = {"a": [1, 1], "b": [0, 0, 0, 0]}, {"a": [0, 0], "b": [1, 0, 0, 1]}
    difference, (low, high) = difference_of_shares(own, teacher)
    assert difference == 0.0
    assert low < 0 < high


def test_other_benchmarks_than_the_teachers_are_refused():
    with pytest.raises(ValueError, match="measured on a and the teacher on b"):
        difference_of_shares({"a": [1, 0]}, {"b": [1, 0]})


def write(folder: Path, files: dict[str, object]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_capability_folders_are_compared_by_benchmark_and_pooled(tmp_path):
    own = write(tmp_path / "own", {"capability.json": {"a": {"correct": [True, False]}, "b": {"correct": [True] * 2}}})
    teacher = write(
        tmp_path / "teacher", {"capability.json": {"a": {"correct": [True, True]}, "b": {"correct": [True] * 2}}}
    )
    found = compare_capability(own, teacher)
    assert {name: difference for name, (difference, _) in found.items()} == {"a": -0.5, "b": 0.0, "pooled": -0.25}
    assert all(interval[0] < difference < interval[1] for difference, interval in found.values())


def test_measures_of_behaviour_are_compared_by_their_kind(tmp_path):
    triples = {"terms": ["a", "b", "c"], "sense": [1, 1, 0.5], "stereotype": [1, 0, 1]}
    folders = [
        write(
            tmp_path / name,
            {
                "behaviour.json": {
                    "generations_greedy_tokens": {"values": tokens},
                    "generations_greedy_ends_itself": {"values": ended},
                    "stereoset_icat": {"values": None},
                },
                "stereoset.json": {**triples, "stereotype": stereotype},
            },
        )
        for name, tokens, ended, stereotype in (
            ("own", [3, 9], [1, 0], [1, 0, 1]),
            ("teacher", [1, 2], [1, 0], [1, 0, 0]),
        )
    ]
    found = compare_behaviour(*folders, seed=0)
    assert found["generations_greedy_tokens"] == (4.5, (2.0, 7.0))
    assert found["generations_greedy_ends_itself"] == difference_of_shares({"a": [1, 0]}, {"a": [1, 0]})
    assert found["stereoset_stereotype_score"][0] == pytest.approx(100 / 3)
    assert found["stereoset_language_model_score"] == (0.0, None)
    difference, (low, high) = found["stereoset_icat"]
    assert low <= difference <= high and low < high
