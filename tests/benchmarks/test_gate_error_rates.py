"""The study of gates that err, with few draws: it runs, and finds what it must."""

import json
import sys
from pathlib import Path

from benchmarks import gate_error_rates


def test_few_draws_already_show_that_gates_keep_what_they_promise(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gate_error_rates, "SHARES", ((200, 0.15, 0.05), (600, 0.06, 0.05)))
    monkeypatch.setattr(gate_error_rates, "MEANS", (50,))
    monkeypatch.setattr(gate_error_rates, "PASSAGES", ((40, 5),))
    out = tmp_path / "rates.json"
    monkeypatch.setattr(sys, "argv", ["gate_error_rates", "--out", str(out), "--repeats", "1000"])
    gate_error_rates.main()
    found = json.loads(out.read_text())
    # 5% and three standard errors over 1,000 draws.
    assert all(row["false_alarm"] < 0.071 and row["failed_at_margin"] < 0.071 for row in found["shares"])
    many = found["shares"][1]
    assert many["miss"] < 0.02 and many["equal_failed"] == 0 and many["minimum_detectable_found"] > 0.7
    passages = found["passages"][0]
    assert passages["known"]["interval_misses"] < passages["unknown"]["interval_misses"]
    text = out.with_suffix(".md").read_text()
    assert "| 200 | 15% | 5 points |" in text and "after Holm" in text
