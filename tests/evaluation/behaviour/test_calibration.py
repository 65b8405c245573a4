import json

import pytest

from evaluation.behaviour.calibration import measure_calibration
from stillhouse.errors import InputError


def write(folder, **benchmarks):
    content = {name: {"licence": "MIT", **score} for name, score in benchmarks.items()}
    (folder / "capability.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


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
