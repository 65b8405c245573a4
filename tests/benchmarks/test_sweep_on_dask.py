"""Two workers against one: the arithmetic, the page, and that a training goes the sweep's own way."""

from pathlib import Path

from benchmarks.sweep_on_dask import ENTRIES, page, ratios, train

ROWS = [
    {"repeat": repeat, "workers": workers, "seconds": seconds, "training_seconds": [3.0], "cores_busy_elsewhere": 0.2}
    for repeat, workers, seconds in ((0, 1, 100.0), (0, 2, 55.0), (1, 2, 60.0), (1, 1, 120.0), (2, 1, 80.0))
]


def test_ratios_are_of_the_medians_and_of_each_whole_repeat():
    # Medians: 57.5 over 100; the third repeat has no second arm yet.
    assert ratios(ROWS) == {"ratio": 0.575, "ratios": [0.55, 0.5]}
    assert ratios(ROWS[:1]) == {"ratio": None, "ratios": []}


def test_a_time_that_others_disturbed_does_not_count():
    disturbed = {"repeat": 2, "workers": 2, "seconds": 300.0, "training_seconds": [9.0], "cores_busy_elsewhere": 1.1}
    assert ratios([*ROWS, disturbed]) == ratios(ROWS)
    assert "| 2 | 2 | 300.0 | 9.0 | 1.1 |" in page(
        {"steps": 40, "recipe": "tiny.yaml", "rows": [*ROWS, disturbed], **ratios(ROWS)}
        | {"environment": {"processor": "a processor", "cores": 2}}
    )


def test_the_page_shows_every_measurement():
    found = {"steps": 40, "recipe": "tiny.yaml", "rows": ROWS, **ratios(ROWS)}
    shown = page(found | {"environment": {"processor": "a processor", "cores": 2}})
    for row in ROWS:
        assert f"| {row['repeat']} | {row['workers']} | {row['seconds']:.1f} | 3.0 | 0.2 |" in shown
    assert "**Two workers take 0.57 of the time of one**" in shown and "a processor, 2 cores" in shown
    assert "not known yet" in page({**found, "ratio": None, "environment": {"processor": "", "cores": 1}})


def test_an_entry_trains_one_student_from_what_is_there(small_recipe, tmp_path: Path):
    recipe = small_recipe()
    for one in ENTRIES[:2]:
        payload = {"recipe": str(recipe), "runs": str(tmp_path / "runs"), "steps": 2}
        assert train(payload | {"changes": one.model_dump(mode="json")})["seconds"] > 0
    store = tmp_path / "runs" / "store"
    made = {kind: len(list((store / kind).glob("*/manifest.json"))) for kind in ("load_teacher", "distill")}
    assert made == {"load_teacher": 1, "distill": 2}
