"""The table of growing work, and what counts as bytes on disk."""

import os
from pathlib import Path

from benchmarks.growing_work import _bytes, page


def test_a_file_with_two_names_is_counted_once(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"12345")
    os.link(tmp_path / "one", tmp_path / "same")
    (tmp_path / "other").write_bytes(b"123")
    assert _bytes(tmp_path) == 8


def test_the_page_has_a_row_for_each_size():
    run = {
        "knowledge": "cached",
        "factor": 2,
        "tokens": 20_000,
        "counted_tokens": 18_000,
        "steps": 20,
        "capture_seconds": 21.0,
        "capture_peak_memory_bytes": 2**30,
        "distill_seconds": 40.0,
        "distill_peak_memory_bytes": 2**31,
        "cache_bytes": 2**20,
        "store_bytes": 2**21,
    }
    compute = {"precision": "bf16", "threads": 2}
    told = page(
        {"runs": [run], "recipe": {"name": "demo"}, "compute": compute, "environment": {"processor": "a processor"}}
    )
    assert "| cached | 20,000 | 20 | 21 | 40 | 450 | 2,048 | 1.0 | 2.0 |" in told
