"""Variants laid side by side, request by request."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import request_agreement
from benchmarks.request_agreement import _beside, is_score


def test_only_what_both_answered_is_compared():
    reference = {"answers": {"a": [-1.0, True], "b": [-2.0, False], "c": [-3.0, True]}}
    own = {"answers": {"a": [-1.5, True], "b": [-2.1, True], "d": [0.0, True]}, "batch_dependence_nats": 0.25}
    found = _beside(own, reference)
    assert found["requests"] == 2
    assert (found["median_nats"], found["largest_nats"]) == (pytest.approx(0.3), pytest.approx(0.5))
    assert (found["same_greedy_share"], found["batch_dependence_nats"]) == (0.5, 0.25)


def test_what_was_written_is_no_score():
    assert is_score([-1.5, True])
    assert not any(is_score(answer) for answer in ([[3, 7], True], ["text", False], "text", [-1.5, 0.5]))


def test_every_variant_of_a_package_stands_on_the_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "agreement.json"
    told = ["--documents", "2", "--device", "cpu", "--out", str(out), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["request_agreement", str(run / "package"), *told])
    request_agreement.main()
    found = json.loads(out.read_text())["variants"]
    assert found["torch-fp32"]["largest_nats"] == 0
    # The same weights in another runtime.
    assert 0 < found["onnx-fp32"]["largest_nats"] < 1e-3 and found["onnx-fp32"]["requests"] >= 20
    assert found["onnx-int4"]["largest_nats"] > 10 * found["onnx-fp32"]["largest_nats"]
    page = out.with_suffix(".md").read_text()
    assert all(f"| `{name}` |" in page for name in found)
