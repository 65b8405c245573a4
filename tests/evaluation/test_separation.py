"""When two figures may be called different, by hand."""

import json
from pathlib import Path

from evaluation.results import NoiseFloor, Results, VariantFigures
from evaluation.separation import Measured, differ, floor_of, measured

RESULTS = Path(__file__).parent / "report" / "results.json"


def test_intervals_that_meet_are_no_difference():
    assert not differ(Measured(10.0, (9.0, 11.0)), Measured(12.0, (11.0, 13.0)))
    assert differ(Measured(10.0, (9.0, 11.0)), Measured(12.0, (11.1, 13.0)))
    assert differ(Measured(12.0, (11.1, 13.0)), Measured(10.0, (9.0, 11.0)))


def test_intervals_apart_by_less_than_the_noise_floor_are_no_difference_either():
    slow, fast = Measured(10.4, (10.3, 10.5)), Measured(10.0, (9.9, 10.1))
    assert differ(slow, fast, 0.03)
    assert not differ(slow, fast, 0.05) and not differ(fast, slow, 0.05)


def test_what_is_known_exactly_differs_as_soon_as_it_is_not_equal():
    assert differ(Measured(100.0), Measured(101.0)) and not differ(Measured(100.0), Measured(100.0))
    assert differ(Measured(100.0), Measured(110.0, (105.0, 115.0)))


def test_a_figure_is_looked_up_with_its_own_interval_and_floor():
    found = Results.model_validate(json.loads(RESULTS.read_text())).variants["onnx-int8"]
    assert isinstance(found, VariantFigures)
    assert measured(found, "inter_token_latency_ms.p50") == Measured(9.28, (9.113, 9.475))
    assert measured(found, "inter_token_latency_ms.p95") == Measured(10.394)
    assert measured(found, "cold_start_seconds") is None
    assert measured(found.by_prompt_tokens["32"], "decode_tokens_per_second") == Measured(111.769, (109.47, 113.818))
    noise = NoiseFloor(variant="torch-fp32", relative={"load_seconds": 0.1})
    assert (floor_of(noise, "load_seconds"), floor_of(noise, "size_bytes"), floor_of(None, "load_seconds")) == (
        0.1,
        0,
        0,
    )
