"""The page of the distillation step: ratios, memory and marks from what was measured."""

from benchmarks.distillation_step import ARMS
from benchmarks.steps.pages import page


def found(**seconds: float) -> dict:
    """One process an arm; memory of 300 MiB for TRL and 90 for the others."""
    runs = [
        {
            "arm": arm,
            "seconds": [value] * 3,
            "activation_bytes": (300 if arm == "trl" else 90) * 2**20,
        }
        for arm, value in seconds.items()
    ]
    runs.append({"arm": "roof", "online_seconds": 0.5, "cached_seconds": 0.25})
    settings = {"rows": 4, "length": 256, "threads": 2, "steps": 3}
    return {"settings": settings, "environment": {"processor": "a processor"}, "runs": runs}


def test_the_page_tells_ratios_memory_and_marks():
    told = page(found(trl=4.0, plain=2.5, online=1.6, cached=1.1, text=1.05), ARMS)
    assert "| Stillhouse, teacher online | 640 (640 to 640) | 2.50 | 1.56 | 90 | 0.30 | 31% |" in told
    assert "| TRL GKDTrainer, off-policy, forward KL | 256 (256 to 256) | 1.00 | 0.62 | 300 | 1.00 | 12% |" in told
    assert "- online against trl: 2.50, asked 2.4: met." in told
    assert "- online against plain: 1.56, asked 1.45: met." in told
    assert "- cached against trl: 3.64, asked 3.4: met." in told
    assert "- Activations and loss of online against TRL's: 0.30, asked 0.33: met." in told
    assert "cross-entropy with the same head: 1.05 times, asked 1.10: met." in told
    assert "can save to 2.00 times." in told


def test_a_mark_that_is_missed_says_so():
    assert "- online against trl: 2.00, asked 2.4: missed." in page(found(trl=4.0, online=2.0), ARMS)


def test_the_share_of_a_device_is_told_where_its_peak_is_known():
    content = found(trl=4.0, cached=1.0)
    content["settings"] |= {"peak_teraflops": 2.0}
    content["runs"][-1] |= {"online_operations": 4e12, "cached_operations": 1e12}
    told = page(content, ARMS)
    assert "- Model FLOP utilisation of trl: 50.0% of 2 teraflops." in told
    assert "- Model FLOP utilisation of cached: 50.0% of 2 teraflops." in told
    assert "utilisation" not in page(found(trl=4.0), ARMS)
