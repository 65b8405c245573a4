"""The table of techniques: what a row lays over the base, what it is compared by, and a row of it on the tiny model."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.techniques import train
from benchmarks.techniques.page import page
from benchmarks.techniques.paired import CALIBRATION, differences
from benchmarks.techniques.record import key_of, path_of, read_all
from benchmarks.techniques.rows import PLAIN_KL, ROWS, UNTRAINED
from benchmarks.techniques.train import BASE, merged, scaled
from stillhouse.recipe.recipe import Recipe, validated

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_recipe_that_differs_from_plain_kl(row: str):
    base = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    asked = validated(Recipe, merged(base, ROWS[row].changes), row)
    assert (asked == validated(Recipe, base, "base")) == (row == PLAIN_KL)


@pytest.mark.parametrize("row", [row for row in ROWS if ROWS[row].technique])
def test_a_row_of_a_technique_has_its_page(row: str):
    assert (ROOT / "docs" / "techniques" / f"{ROWS[row].technique}.md").is_file()


def test_sections_are_merged_unless_they_are_of_another_kind():
    base = {"a": {"kind": "x", "one": 1, "two": 2}, "b": 1}
    assert merged(base, {"a": {"one": 3}}) == {"a": {"kind": "x", "one": 3, "two": 2}, "b": 1}
    assert merged(base, {"a": {"kind": "y", "one": 3}}) == {"a": {"kind": "y", "one": 3}, "b": 1}


def test_twice_the_time_is_twice_the_steps_and_tokens_of_every_part():
    asked = {"data": {"train_tokens": 100}, "route": {"through": [{"steps": 7, "layers": 3}]}, "warmup_steps": 5}
    found = scaled(asked, 2.0)
    assert found == {
        "data": {"train_tokens": 200},
        "route": {"through": [{"steps": 14, "layers": 3}]},
        "warmup_steps": 5,
    }


def documents(nats: list[float], gaps: list[float]) -> list[dict]:
    return [
        {
            "document": f"set/{number}",
            "tokens": 10,
            "loss_nats": each,
            "kl_to_teacher_nats": each,
            "top1_agreements": 5.0,
            "calibration_gaps": [gap, 0.0],
        }
        for number, (each, gap) in enumerate(zip(nats, gaps, strict=True))
    ]


def test_differences_are_paired_by_document():
    hard_and_easy = [10.0, 50.0, 20.0, 80.0, 30.0]
    worse = documents([each + 1 + 0.1 * place for place, each in enumerate(hard_and_easy)], [2.0] * 5)
    apart = differences(worse, documents(hard_and_easy, [1.0] * 5))
    value, (low, high) = apart["kl_to_teacher_nats_per_token"]
    assert value == pytest.approx(0.12) and 0.1 < low < value < high < 0.14
    assert apart["top1_agreement_with_teacher"][0] == 0
    assert apart[CALIBRATION][0] == pytest.approx(0.1)


def test_rows_that_read_different_documents_are_not_compared():
    one = documents([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(ValueError, match="different documents"):
        differences(one, one[:1])


@pytest.fixture
def trained(small_recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Does a row of the table on the tiny model."""
    base = small_recipe(alpha=1.0, temperature=1.0)

    def run(row: str, *options: str) -> None:
        common = ("--base", str(base), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
        monkeypatch.setattr("sys.argv", ["train", row, *common, *options])
        train.main()

    return run


def test_rows_are_trained_kept_and_shown_beside_plain_kl(trained, tmp_path: Path):
    out = tmp_path / "out"
    for row in (UNTRAINED, PLAIN_KL, "cross-entropy"):
        trained(row)
    trained("cross-entropy", "--view", "time")
    records = {(record.row, record.view): record for record in read_all(out)}
    assert set(records) == {
        (UNTRAINED, "tokens"),
        (PLAIN_KL, "tokens"),
        ("cross-entropy", "tokens"),
        ("cross-entropy", "time"),
    }
    kl, plain = records[PLAIN_KL, "tokens"], records["cross-entropy", "tokens"]
    assert kl.cost["tokens"] == plain.cost["tokens"] > 0
    assert records[UNTRAINED, "tokens"].cost["tokens"] == 0
    figure = "kl_to_teacher_nats_per_token"
    assert kl.figures["held_out"][figure] < records[UNTRAINED, "tokens"].figures["held_out"][figure]
    # As much longer as plain KL took, with more text.
    expected = kl.cost["seconds"] / plain.cost["seconds"]
    assert records["cross-entropy", "time"].changes["data"]["train_tokens"] == round(4000 * expected)
    shown = page(list(records.values()))
    assert "| cross-entropy | 0 |" in shown and "| no training | " in shown
    # A record with today's key is not made again: what it says stays.
    path = path_of(out, PLAIN_KL, "tokens", 0)
    before = path.stat().st_mtime_ns
    trained(PLAIN_KL)
    assert path.stat().st_mtime_ns == before
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "of other code"}))
    trained(PLAIN_KL)
    assert key_of(out, PLAIN_KL, "tokens", 0) == kl.key
