"""The page of the capture's speed: ratios and marks from what was measured."""

from benchmarks.capture_speed import page


def test_the_page_tells_ratio_and_mark_of_each_precision():
    seconds = {("bare", "fp32"): 1.0, ("captured", "fp32"): 1.25, ("bare", "bf16"): 0.5, ("captured", "bf16"): 0.625}
    runs = [
        {"arm": arm, "precision": precision, "seconds": value, "tokens": 1000}
        for (arm, precision), value in seconds.items()
    ]
    told = page({"runs": runs, "threads": 2, "environment": {"processor": "a processor"}})
    assert "| fp32 | 1,000 (1,000 to 1,000) | 800 (800 to 800) | 0.80 | 0.9 | missed |" in told
    assert "| bf16 | 2,000 (2,000 to 2,000) | 1,600 (1,600 to 1,600) | 0.80 | 0.75 | met |" in told
