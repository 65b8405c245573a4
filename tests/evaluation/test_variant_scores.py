"""What `assemble_results` says of a variant's benchmarks."""

import json
from pathlib import Path

import pytest

from evaluation.assemble import _compare_variants, _scores_of_variant
from evaluation.comparison import Compared
from evaluation.results import Score
from stillhouse.store.artifact import Manifest

CORRECT = {"torch-fp32": [1, 1, 1, 0], "onnx-int4": [1, 0, 0, 0]}


@pytest.fixture
def scored(tmp_path: Path) -> tuple[dict[str, Manifest], dict[str, dict[str, Compared]]]:
    """The manifests of both variants' benchmarks, and what sets one off the other."""
    manifests, folders = {}, {}
    for variant, correct in CORRECT.items():
        name = f"capability_{variant}"
        score = {"value": sum(correct) / 4, "stderr": 0.2, "n": 4}
        facts = {"piqa": score, "pooled": score, "batch_dependence_nats": 2e-6}
        folders[name] = tmp_path / variant
        folders[name].mkdir()
        content = {"piqa": {"correct": correct, "values": correct}}
        (folders[name] / "capability.json").write_text(json.dumps(content), encoding="utf-8")
        empty = dict.fromkeys(Manifest.__dataclass_fields__, "")
        manifests[name] = Manifest(**{**empty, "facts": facts})
        folders[f"variant_{variant}"] = tmp_path
    return manifests, _compare_variants(folders, seed=0)


def test_a_variants_scores_stand_beside_their_difference_to_torch_fp32(scored):
    manifests, compared = scored
    found = _scores_of_variant("onnx-int4", manifests, compared["onnx-int4"])
    assert found["batch_dependence_nats"] == 2e-6
    assert set(found["capability"]) == {"piqa", "pooled"}
    for score in found["capability"].values():
        assert (score.value, score.difference_to_teacher, score.gained, score.lost) == (0.25, -0.5, 0, 2)


def test_torch_fp32_is_compared_with_nothing(scored):
    manifests, compared = scored
    assert set(compared) == {"onnx-int4"}
    found = _scores_of_variant("torch-fp32", manifests, {})
    assert found["capability"]["piqa"] == Score(value=0.75, stderr=0.2, n=4)


def test_a_variant_that_answered_no_benchmark_has_no_scores(scored):
    assert _scores_of_variant("bnb-nf4", scored[0], {}) == {}
