"""The benchmark of the loss: every form runs, and those of one target are one loss."""

import pytest

from benchmarks import loss_memory

SMALL = {"tokens": 64, "vocabulary": 300, "features": 8, "threads": 1, "device": "cpu"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_form_runs_and_all_logits_and_chunks_give_one_loss(precision: str):
    found = {form: loss_memory.measure(SMALL | {"form": form, "precision": precision}) for form in loss_memory.FORMS}
    assert all(one["seconds"] > 0 and one["peak_bytes_above_inputs"] >= 0 for one in found.values())
    one = pytest.approx(found["autograd"]["loss"], rel=1e-5 if precision == "fp32" else 1e-4)
    assert found["chunked"]["loss"] == one
    assert found["chunked sampled"]["loss"] != pytest.approx(found["chunked text"]["loss"], rel=1e-3)


def test_the_table_holds_median_and_range():
    runs = [
        {"form": "chunked", "vocabulary": 300, "tokens": 64, "seconds": seconds, "peak_bytes_above_inputs": 3 * 2**20}
        for seconds in (0.3, 0.1, 0.2)
    ]
    assert loss_memory.table(runs)[2] == "| chunks, teacher's hidden states | 300 | 64 | 0.20 (0.10 to 0.30) | 3 |"
