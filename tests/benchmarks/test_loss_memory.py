"""The benchmark of the loss: every form runs, and those of one target are one loss."""

import json
from contextlib import nullcontext
from pathlib import Path

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


def test_peers_are_left_out_aloud_where_they_are_not_installed(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(loss_memory, "find_spec", lambda _: None)
    options = ["--out", "loss.json", "--forms", "chunked", "DistillKit"]
    assert loss_memory._forms(loss_memory._parser().parse_args(options)) == ["chunked"]
    assert "DistillKit is not installed" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["loss_memory", "--out", "loss.json", "--forms", "DistillKit"])
    with pytest.raises(SystemExit, match="2"):
        loss_memory.main()
    capsys.readouterr()
    assert loss_memory._forms(loss_memory._parser().parse_args(options[:2])) == list(loss_memory.FORMS)


def test_peers_have_the_same_loss_as_ours_where_they_are_installed():
    pytest.importorskip("distillkit", reason="DistillKit is on no package index; benchmarks/loss_memory.py says how")
    pairs = {"DistillKit": "chunked", "DistillKit top-k": "chunked top-k"}
    for peer, ours in pairs.items():
        losses = [loss_memory.measure(SMALL | {"form": form, "precision": "fp32"})["loss"] for form in (peer, ours)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_table_holds_median_and_range():
    runs = [
        {"form": "chunked", "vocabulary": 300, "tokens": 64, "seconds": seconds, "peak_bytes_above_inputs": 3 * 2**20}
        for seconds in (0.3, 0.1, 0.2)
    ]
    assert loss_memory.table(runs)[2] == "| chunks, teacher's hidden states | 300 | 64 | 0.20 (0.10 to 0.30) | 3 |"


def test_what_was_measured_before_a_failure_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured = iter([loss_memory.measure(SMALL | {"form": "chunked text", "precision": "fp32"})])
    monkeypatch.setattr(loss_memory.child, "run", lambda *_, **__: next(measured))
    # Other tests' stages hold the machine, and nothing is timed here.
    monkeypatch.setattr(loss_memory.machine, "measuring_alone", nullcontext)
    out = tmp_path / "loss.json"
    sizes = ["--tokens", "64", "--vocabularies", "300", "--features", "8", "--forms", "chunked text"]
    monkeypatch.setattr("sys.argv", ["loss_memory", "--out", str(out), *sizes])
    with pytest.raises(StopIteration):
        loss_memory.main()
    assert len(json.loads(out.read_text(encoding="utf-8"))["runs"]) == 1
    assert "chunks, no teacher" in out.with_suffix(".md").read_text(encoding="utf-8")
