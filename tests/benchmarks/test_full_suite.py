"""A suite's sample: its time without loading, grown to all documents."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import full_suite

TEACHER = Path(__file__).parents[1] / "tiny_teacher"


def test_a_time_grows_with_the_documents_and_loading_counts_once():
    timed = {"seconds": 12.0, "asked": 20, "documents": 200}
    assert full_suite.extrapolated_seconds(timed, loading_seconds=2.0) == 100
    assert full_suite.extrapolated_seconds(timed | {"seconds": 1.0}, loading_seconds=2.0) == 0


def test_every_benchmark_of_a_suite_is_sampled_and_stands_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out" / "suite.json"
    told = ["--suite", "quick", "--documents", "2", "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["full_suite", str(TEACHER), *told, "--runs", str(tmp_path / "runs")])
    full_suite.main()
    found = json.loads(out.read_text())
    assert len(found["benchmarks"]) == 10
    for one in found["benchmarks"].values():
        assert one["asked"] == one["n"] == 2 < one["documents"] and one["seconds"] > 0
    page = out.with_suffix(".md").read_text()
    assert all(f"| {name} |" in page for name in found["benchmarks"])
