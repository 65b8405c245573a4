"""The study of gates that err, with few draws: it runs, and finds what it must."""

import json
import sys
from pathlib import Path

from benchmarks import gate_error_rates


def test_few_draws_already_show_that_gates_keep_what_they_promise(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gate_error_rates, "SHARES", ((600, 0.06, 0.05),))
    monkeypatch.setattr(gate_error_rates, "MEANS", (25,))
    monkeypatch.setattr(gate_error_rates, "PASSAGES", ((20, 5),))
    out = tmp_path / "rates.json"
    monkeypatch.setattr(sys, "argv", ["gate_error_rates", "--out", str(out), "--repeats", "160"])
    gate_error_rates.main()
    found = json.loads(out.read_text())
    many = found["shares"][0]
    # 5% and three standard errors over 160 draws.
    assert many["false_alarm"] < 0.102 and many["failed_at_margin"] < 0.102
    assert many["miss"] < 0.02 and many["equal_failed"] == 0 and many["minimum_detectable_found"] > 0.7
    passages = found["passages"][0]
    assert passages["known"]["interval_misses"] < passages["unknown"]["interval_misses"]
    text = out.with_suffix(".md").read_text()
    assert "| 600 | 6% | 5 points |" in text and "after Holm" in text
