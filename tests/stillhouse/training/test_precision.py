"""Which precision is chosen, and that finding out takes no longer than it has to."""

import json
from pathlib import Path
from typing import Any

import pytest

from stillhouse.training import precision
from stillhouse.training.precision import ProbeSettings, probe_precision

SETTINGS = ProbeSettings(device="cpu", device_name="a processor", threads=1)
FP32 = 1e-5
"""Seconds a token."""


@pytest.mark.parametrize(
    ("few", "many", "chosen", "times"),
    [
        # Without bf16 arithmetic: never timed on many tokens.
        (15 * FP32, None, "fp32", 1),
        # Conversions count with few tokens, and many decide.
        (2 * FP32, FP32 / 3, "bf16", 2),
        (2 * FP32, FP32 / 1.1, "fp32", 2),
        (FP32 / 4, FP32 * 3, "fp32", 2),
    ],
)
def test_many_tokens_decide_unless_few_are_hopeless(
    few: float, many: float | None, chosen: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    long_ones = []

    def timed(device: str, name: str, num_tokens: int, least_seconds: float) -> float:
        if least_seconds:
            long_ones.append(name)
        found = FP32 if name == "fp32" else many if least_seconds else few
        assert found is not None, "bf16 timed where it is hopeless"
        return found

    monkeypatch.setattr(precision, "_seconds_per_token", timed)
    found = probed(tmp_path)
    assert (found["precision"], len(long_ones)) == (chosen, times)
    assert found["bf16_speed_over_fp32"] == pytest.approx(FP32 / (many or few), abs=1e-3)


def test_a_real_probe_tells_speeds_that_this_machine_can_have(tmp_path: Path):
    speeds = probed(tmp_path)["gigaflops_per_second"]
    assert all(0 < speed < 1e6 for speed in speeds.values()) and set(speeds) == {"fp32", "bf16"}


def probed(folder: Path) -> dict[str, Any]:
    probe_precision(SETTINGS, {}, folder)
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))
