import json
from pathlib import Path

import pytest

from evaluation.comparison import compare_behaviour, compare_capability, difference_to_teacher, pooled_difference


def test_a_model_that_answers_as_its_teacher_does_differs_by_exactly_0():
    assert difference_to_teacher([1, 0, 1, 1], [1, 0, 1, 1], seed=0) == (0.0, (0.0, 0.0))


def test_the_difference_is_paired_so_what_both_find_hard_cancels():
    difference, (low, high) = difference_to_teacher([0, 1, 0, 1], [0.5, 1.5, 0.5, 1.5], seed=0)
    assert (difference, low, high) == (-0.5, -0.5, -0.5)


def test_the_interval_holds_the_difference_and_is_that_of_its_seed():
    own, teacher = [1, 0, 0, 1, 0, 1, 0, 0] * 5, [1, 1, 0, 1, 0, 1, 1, 0] * 5
    difference, (low, high) = difference_to_teacher(own, teacher, seed=1)
    assert difference == -0.25
    # Standard deviation 0.433 over 40 documents: 1.96 * 0.433 / sqrt(40) = 0.134 to either side.
    assert (low, high) == (pytest.approx(-0.384, abs=0.03), pytest.approx(-0.116, abs=0.03))
    assert difference_to_teacher(own, teacher, seed=1) == (difference, (low, high))


def test_unequal_numbers_of_documents_are_refused():
    with pytest.raises(ValueError, match="the model has 3 values and the teacher 2"):
        difference_to_teacher([1, 0, 1], [1, 0], seed=0)


def test_pooling_keeps_each_benchmarks_weight_in_every_resample():
    # Within each benchmark all documents differ by the same, so drawing within benchmarks leaves nothing to chance.
    own, teacher = {"a": [1, 1], "b": [0, 0, 0, 0]}, {"a": [0, 0], "b": [0.5, 0.5, 0.5, 0.5]}
    assert pooled_difference(own, teacher, seed=0) == (0.0, (0.0, 0.0))


def test_other_benchmarks_than_the_teachers_are_refused():
    with pytest.raises(ValueError, match="measured on a and the teacher on b"):
        pooled_difference({"a": [1, 0]}, {"b": [1, 0]}, seed=0)


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
    found = compare_capability(own, teacher, seed=0)
    assert {name: difference for name, (difference, _) in found.items()} == {"a": -0.5, "b": 0.0, "pooled": -0.25}
    assert found["b"][1] == (0.0, 0.0)
    assert found["pooled"][1] == (-0.5, 0.0)


def test_a_measure_that_is_no_mean_has_a_difference_without_an_interval(tmp_path):
    folders = [
        write(
            tmp_path / name,
            {
                "behaviour.json": {"mean": {"values": values}, "icat": {"values": None}},
                "facts.json": {"mean": {"value": 0}, "icat": {"value": icat}},
            },
        )
        for name, values, icat in (("own", [1, 2], 60.0), ("teacher", [0, 1], 70.0))
    ]
    found = compare_behaviour(*folders, seed=0)
    assert found == {"mean": (1.0, (1.0, 1.0)), "icat": (-10.0, None)}
