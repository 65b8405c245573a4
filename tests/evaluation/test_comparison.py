import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.comparison import (
    Compared,
    compare_behaviour,
    compare_capability,
    compare_documents,
    compare_shares,
    corrected,
)
from evaluation.score_files import DocumentScores


def scores(values, *, share=False, weights=None, clusters=None, direction="lower is better") -> DocumentScores:
    weights, clusters = (None if each is None else np.array(each) for each in (weights, clusters))
    return DocumentScores(np.array(values, dtype=np.float64), weights, clusters, direction, share)


def answers(values, clusters=None) -> DocumentScores:
    return scores(values, share=True, clusters=clusters, direction="higher is better")


def test_where_all_documents_differ_alike_no_interval_is_made_up():
    found = compare_documents("a", scores([1, 5, 2]), scores([1, 5, 2]), seed=0)
    assert (found.difference, found.interval, found.p_value, found.minimum_detectable) == (0.0, None, None, None)
    found = compare_documents("a", scores([0, 1, 0, 1]), scores([0.5, 1.5, 0.5, 1.5]), seed=0)
    assert (found.difference, found.interval) == (-0.5, None)


def test_the_interval_holds_the_difference_and_is_that_of_its_seed():
    own, teacher = scores([1, 0, 0, 1, 0, 1, 0, 0] * 5), scores([1, 1, 0, 1, 0, 1, 1, 0] * 5)
    found = compare_documents("a", own, teacher, seed=1)
    assert found.difference == -0.25
    # Standard deviation 0.439 over 40 documents: 2.02 * 0.439 / sqrt(40) = 0.140 to either side.
    assert found.interval == (pytest.approx(-0.39, abs=0.03), pytest.approx(-0.11, abs=0.03))
    assert found.p_value < 0.01 and (found.gained, found.lost) == (None, None)
    # 1.96 + 0.84 standard errors of 0.0693.
    assert found.minimum_detectable == pytest.approx(0.194, abs=0.001)
    assert compare_documents("a", own, teacher, seed=1).interval == found.interval


def test_bits_per_byte_are_compared_as_a_ratio_of_sums():
    own = scores([8.0, 40.0, 9.0] * 4, weights=[10, 50, 10] * 4)
    teacher = scores([7.0, 30.0, 9.0] * 4, weights=[10, 50, 10] * 4)
    found = compare_documents("gsm8k", own, teacher, seed=0)
    assert found.difference == pytest.approx(11 / 70)
    low, high = found.interval
    assert 0.05 < low < found.difference < high < 0.2


def test_documents_that_share_a_passage_make_a_difference_less_sure():
    own = np.repeat(np.random.default_rng(0).random(30), 6)
    apart = compare_documents("a", scores(own), scores(np.full(180, 0.5)), seed=0)
    clusters = np.repeat(np.arange(30), 6).tolist()
    shared = compare_documents(
        "a", scores(own, clusters=clusters), scores(np.full(180, 0.5), clusters=clusters), seed=0
    )
    assert shared.difference == pytest.approx(apart.difference)
    assert shared.minimum_detectable == pytest.approx(np.sqrt(6) * apart.minimum_detectable, rel=0.05)
    right, all_right = answers([0] * 5 + [1] * 25, np.repeat(np.arange(6), 5)), [1] * 30
    found = compare_documents("a", right, answers(all_right, np.repeat(np.arange(6), 5)), seed=0)
    # One passage of five is lost, and it may as well have been gained.
    assert found.p_value == 1.0 and found.lost == 5
    assert compare_documents("a", answers(right.values), answers(all_right), seed=0).p_value == pytest.approx(2 / 32)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (scores([1, 0, 1]), "the model has 3 values and the teacher 2"),
        (scores([1, 0], clusters=[3, 3]), "grouped otherwise"),
        (scores([1, 0], weights=[4, 5]), "of other lengths"),
    ],
)
def test_other_documents_than_the_teachers_are_refused(own, words):
    with pytest.raises(ValueError, match=words):
        compare_documents("a", own, scores([1, 0]), seed=0)


def test_right_answers_are_compared_by_the_table_of_both():
    # Of 8 documents the model alone has 1 right and the teacher alone 3.
    found = compare_shares([answers([1, 0, 0, 0, 1, 1, 0, 0])], [answers([0, 1, 1, 1, 1, 1, 0, 0])])
    assert (found.difference, found.gained, found.lost) == (-0.25, 1, 3)
    assert found.interval == (pytest.approx(-0.6204, abs=1e-4), pytest.approx(0.2204, abs=1e-4))
    assert found.p_value == pytest.approx(2 * 5 / 16)


@pytest.mark.parametrize("right", [[1] * 6, [0] * 6, [1, 0] * 3])
def test_a_few_documents_that_agree_are_no_proof_that_nothing_differs(right):
    found = compare_shares([answers(right)], [answers(right)])
    assert (found.difference, found.p_value) == (0.0, 1.0)
    # Half a document to either side: 1.96 * sqrt((0.5 + 0.5) / 8 / 8) = 0.245.
    assert found.interval == (pytest.approx(-0.245, abs=1e-3), pytest.approx(0.245, abs=1e-3))
    assert found.evidence.interval_at(0.9)[0] < -0.2


def test_the_interval_of_shares_misses_the_truth_as_seldom_as_it_says():
    """A bootstrap misses it in nearly half of the draws where a difference is rare and documents are few."""
    generator = np.random.default_rng(0)
    for gained, lost, count in ((0.01, 0.04, 25), (0.1, 0.15, 50), (0.02, 0.02, 100)):
        missed = 0
        for _ in range(1000):
            found = generator.choice(3, size=count, p=[gained, lost, 1 - gained - lost])
            low, high = compare_shares([answers(found == 0)], [answers(found == 1)]).interval
            missed += not low <= gained - lost <= high
        # 5% are meant; three of its standard errors over 1,000 draws are 2%.
        assert missed / 1000 < 0.07, (gained, lost, count)


def test_pooling_keeps_each_benchmarks_weight_and_its_passages():
    own, teacher = [answers([1, 1]), answers([0, 0, 0, 0])], [answers([0, 0]), answers([1, 0, 0, 1])]
    found = compare_shares(own, teacher)
    assert (found.difference, found.gained, found.lost) == (0.0, 2, 2)
    assert found.interval[0] < 0 < found.interval[1]
    # Passage 0 of one benchmark is not passage 0 of another: two sums of two, 2 in 4 and twice that.
    both = [answers([1, 1], [0, 0]), answers([1, 1], [0, 0])]
    assert compare_shares(both, [answers([0, 0], [0, 0])] * 2).p_value == pytest.approx(0.5)


def test_p_values_stand_among_those_of_the_suite():
    suite = {str(p): Compared(0.0, None, p, None) for p in (0.04, 0.01, None)}
    assert [one.p_value_holm for one in corrected(suite).values()] == [0.04, 0.02, None]


@pytest.mark.parametrize(("documents", "others"), [(24, 50), (200, 17)])
def test_one_enormous_difference_is_called_among_a_whole_suite(documents, others):
    """The draws alone cannot: 51 times their smallest p-value is above 5%."""
    generator = np.random.default_rng(0)
    suite = {
        f"none {number}": compare_documents(
            "none", scores(generator.normal(size=documents)), scores(generator.normal(size=documents)), seed=0
        )
        for number in range(others)
    }
    own, teacher = generator.normal(5, 1, size=documents), generator.normal(size=documents)
    found = corrected(suite | {"enormous": compare_documents("enormous", scores(own), scores(teacher), seed=0)})
    assert found["enormous"].p_value_holm < 0.001
    assert min(found[name].p_value_holm for name in suite) > 0.05


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
    assert {name: one.difference for name, one in found.items()} == {"a": -0.5, "b": 0.0, "pooled": -0.25}
    assert all(one.interval[0] < one.difference < one.interval[1] for one in found.values())
    assert [one.p_value_holm for one in found.values()] == [1.0, 1.0, None]


def test_only_shares_of_right_answers_are_pooled(tmp_path):
    bits = {"correct": None, "weights": [10, 20], "direction": "lower is better"}
    contents = [
        {"a": {"correct": right, "values": right}, "gsm8k": {**bits, "values": values}}
        for right, values in (([0, 1], [9.0, 11.0]), ([1, 1], [8.0, 9.0]))
    ]
    own, teacher = (
        write(tmp_path / name, {"capability.json": content})
        for name, content in zip(("own", "teacher"), contents, strict=True)
    )
    found = compare_capability(own, teacher, seed=0)
    assert found["gsm8k"].difference == pytest.approx(0.1)
    assert found["gsm8k"].evidence.direction == "lower is better"
    assert (found["pooled"].difference, found["pooled"].evidence.documents) == (-0.5, 2)


def test_other_benchmarks_than_the_teachers_are_refused(tmp_path):
    own, teacher = (write(tmp_path / name, {"capability.json": {name: {"correct": [1, 0]}}}) for name in ("a", "b"))
    with pytest.raises(ValueError, match="measured on a and the teacher on b"):
        compare_capability(own, teacher, seed=0)


def test_what_one_of_the_two_could_not_be_scored_on_is_not_compared(tmp_path):
    def record(right):
        return {"values": right, "correct": right, "clusters": None, "weights": None, "direction": "higher is better"}

    own = write(tmp_path / "own", {"capability.json": {"piqa": record([1, 0, 1])}})
    teacher = write(tmp_path / "teacher", {"capability.json": {name: record([1, 1, 1]) for name in ("piqa", "swag")}})
    assert set(compare_capability(own, teacher, seed=0, not_scored=("swag",))) == {"piqa", "pooled"}


def test_measures_of_behaviour_are_compared_by_their_kind(tmp_path):
    triples = {"terms": list("abcdef"), "sense": [1, 1, 0.5, 1, 0.5, 1]}
    folders = [
        write(
            tmp_path / name,
            {
                "behaviour.json": {
                    "generations_greedy_tokens": {"values": tokens},
                    "generations_greedy_ends_itself": {"values": ended, "direction": "higher is better"},
                    "stereoset_icat": {"values": None},
                },
                "stereoset.json": {**triples, "stereotype": stereotype},
            },
        )
        for name, tokens, ended, stereotype in (
            ("own", [3, 9, 4, 8, 5, 7], [1, 0], [1, 0, 1, 1, 1, 0]),
            ("teacher", [1, 2, 1, 2, 1, 2], [1, 0], [1, 0, 0, 1, 0, 0]),
        )
    ]
    found = compare_behaviour(*folders, seed=0)
    low, high = found["generations_greedy_tokens"].interval
    assert 2.0 <= low < 4.5 < high <= 7.0
    assert found["generations_greedy_tokens"].difference == 4.5
    ended = found["generations_greedy_ends_itself"]
    assert (ended.gained, ended.lost, ended.evidence.direction) == (0, 0, "higher is better")
    assert found["stereoset_stereotype_score"].difference == pytest.approx(100 / 3)
    assert found["stereoset_language_model_score"].interval is None
    icat = found["stereoset_icat"]
    assert icat.interval[0] <= icat.difference <= icat.interval[1] and icat.interval[0] < icat.interval[1]
    assert icat.p_value_holm >= icat.p_value > 0 and icat.evidence.documents == 6


def test_figures_that_are_no_means_are_compared_over_the_same_draws(tmp_path):
    generator = np.random.default_rng(0)
    right = (generator.uniform(size=300) < 0.6).astype(float)

    def record(sure: float):
        rows = [[sure, each] for each in right.tolist()]
        return {"values": None, "statistic": "calibration error", "rows": rows, "clusters": None, "direction": "lower"}

    own, teacher = (
        write(tmp_path / str(sure), {"behaviour.json": {"calibration_error": record(sure)}}) for sure in (0.95, 0.9)
    )
    found = compare_behaviour(own, teacher, seed=0)["calibration_error"]
    # Both answer alike and are too sure: what is drawn moves both errors by as much, and the difference not at all.
    assert found.difference == pytest.approx(0.05, abs=0.02)
    assert found.interval is not None and found.interval[1] - found.interval[0] < 0.02
    assert found.p_value_holm is not None and found.p_value_holm < 0.01
    other = write(tmp_path / "other", {"behaviour.json": {"calibration_error": record(0.9) | {"clusters": [0] * 300}}})
    with pytest.raises(ValueError, match="answered other documents"):
        compare_behaviour(own, other, seed=0)
