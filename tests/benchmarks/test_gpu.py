"""What is ordered on a GPU: every command line is one that its benchmark takes."""

import importlib

import pytest

from benchmarks.gpu import everything


def test_every_order_is_one_that_its_benchmark_takes(tmp_path):
    orders = dict(everything._orders(everything._parser().parse_args(["--out", str(tmp_path)])))
    read = {name: importlib.import_module(order[0])._parser().parse_args(order[1:]) for name, order in orders.items()}
    assert len(read) == 4 and len({each.out for each in read.values()}) == 4
    assert all(each.device == "cuda" and each.out.parent == tmp_path for each in read.values())


def test_a_machine_without_one_is_told_what_else_to_run(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["everything", "--out", "nowhere"])
    monkeypatch.setattr(everything.torch.accelerator, "is_available", lambda: False)
    assert everything.main() == 2
    assert "make bench" in capsys.readouterr().out


@pytest.mark.gpu
def test_a_capture_is_measured_there(tmp_path):
    from benchmarks.capture_speed import main

    with pytest.MonkeyPatch.context() as patched:
        told = ["--device", "cuda", "--tokens", "4000", "--repeats", "1", "--out", str(tmp_path / "capture.json")]
        patched.setattr("sys.argv", ["capture_speed", *told, "--runs", str(tmp_path / "runs")])
        main()
    assert "| bf16 |" in (tmp_path / "capture.md").read_text()
