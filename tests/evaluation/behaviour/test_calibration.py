import json

import numpy as np
import pytest

from evaluation.behaviour.calibration import calibration_error, measure_calibration
from stillhouse.errors import InputError


def write(folder, **benchmarks):
    content = {name: {"licence": "MIT", **score} for name, score in benchmarks.items()}
    (folder / "capability.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_error_is_the_distance_of_confidence_and_accuracy_bin_by_bin():
    # Two documents, a bin each: 0.6 and wrong, 0.9 and right: (0.6 + 0.1) / 2.
    assert calibration_error([0.9, 0.6], [1, 0]) == pytest.approx(0.35)


def test_bins_hold_equally_many_documents():
    # 30 documents, 15 bins of two. In each one is right: |0.5 - 0.5| and |0.7 - 0.5|.
    confidence = [0.5] * 16 + [0.7] * 14
    assert calibration_error(confidence, [1, 0] * 15) == pytest.approx(0.2 * 14 / 30)


def test_a_model_that_is_right_as_often_as_it_says_has_little_error():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.25, 1, 20_000)
    right = generator.uniform(size=20_000) < confidence
    assert calibration_error(confidence, right) < 0.02
    assert calibration_error(np.ones(20_000), right) == pytest.approx(1 - right.mean())


def test_benchmarks_are_taken_together_and_those_without_choices_left_out(tmp_path):
    folder = write(
        tmp_path,
        one={"confidence": [0.9, 0.8], "correct": [True, False]},
        two={"confidence": [0.5], "correct": [True]},
        bits={"confidence": None, "correct": None},
    )
    found = measure_calibration(folder, seed=0)
    assert found["calibration_overconfidence"].values == pytest.approx((-0.1, 0.8, -0.5))
    assert found["calibration_brier"].value == pytest.approx((0.01 + 0.64 + 0.25) / 3)
    assert found["calibration_error"].n == 3 and found["calibration_error"].values is None


def test_without_a_benchmark_that_has_choices_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="none was scored; add one to evaluation.benchmarks"):
        measure_calibration(write(tmp_path, bits={"confidence": None, "correct": None}), seed=0)
