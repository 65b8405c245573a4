"""The table of techniques: what a row lays over the base, what it is compared by, and a row of it on the tiny model."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from benchmarks.figures import FIGURES
from benchmarks.techniques import __main__ as filling
from benchmarks.techniques import finalists, prompts, timings, train
from benchmarks.techniques.page import page, sorted_once, write_page
from benchmarks.techniques.paired import CALIBRATION, differences, is_same_text
from benchmarks.techniques.record import Record, key_of, path_of, read_all, write
from benchmarks.techniques.rows import PLAIN_KL, REFITTED, ROWS, UNTRAINED, merged
from benchmarks.techniques.timings import Sitting, Timing
from benchmarks.techniques.train import BASE
from flows.work import Planner, Work, directly
from stillhouse.data.document import read_documents
from stillhouse.recipe.recipe import Recipe, validated
from stillhouse.store.store import Store

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


def documents(nats: list[float], gaps: list[float]) -> list[dict]:
    return [
        {
            "document": f"set/{number}",
            "tokens": 10,
            "bytes": 40,
            "teacher_loss_nats": 30.0,
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
    # A document that another code made longer is another one.
    with pytest.raises(ValueError, match="different documents"):
        differences(one, [one[0], one[1] | {"tokens": 11}])
    # As long, and another one to the teacher; the same one on another processor.
    with pytest.raises(ValueError, match="different documents"):
        differences(one, [one[0], one[1] | {"teacher_loss_nats": 33.0}])
    assert is_same_text(one, [one[0], one[1] | {"teacher_loss_nats": 30.001}])


@pytest.fixture
def record_of():
    """A record in the view of equal tokens."""

    def make(row: str, seed: int, *, validation: float = 1.0) -> Record:
        figures = {"validation": {finalists.JUDGED_BY: validation}}
        return Record(row, "tokens", seed, "key", ROWS[row].changes, figures, [], {}, {"processor": "A"})

    return make


@pytest.fixture
def base(small_recipe) -> Path:
    """The recipe under every row, on the tiny model."""
    return small_recipe(alpha=1.0, temperature=1.0)


@pytest.fixture
def trained(base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Does a row of the table on the tiny model."""

    def run(row: str, *options: str) -> None:
        common = ("--base", str(base), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
        monkeypatch.setattr("sys.argv", ["train", row, *common, *options])
        train.main()

    return run


def test_a_table_of_other_models_is_trained_and_written_where_it_is_asked(
    trained, base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def in_this_process(command: list[str], *, check: bool) -> None:
        assert check and command[1:3] == ["-m", "benchmarks.techniques.train"]
        trained(command[3], *command[4:])

    monkeypatch.setattr(filling, "subprocess", SimpleNamespace(run=in_this_process))
    out = tmp_path / "mine"
    asked = ["--base", str(base), "--out", str(out), "--rows", PLAIN_KL, "cross-entropy", "--views", "tokens"]
    monkeypatch.setattr("sys.argv", ["techniques", *asked, "--seeds", "1"])
    filling.main()
    assert {(each.row, each.seed) for each in read_all(out)} == {(PLAIN_KL, 1), ("cross-entropy", 1)}
    assert "| cross-entropy | 1 | " in out.with_suffix(".md").read_text(encoding="utf-8")


def test_rows_are_trained_kept_and_shown_beside_plain_kl(trained, base, tmp_path: Path):
    out = tmp_path / "out"
    for row in (UNTRAINED, REFITTED, PLAIN_KL, "cross-entropy"):
        trained(row)
        write_page(out)
        # A table that begins has nothing to lay its first row beside.
        assert out.with_suffix(".md").exists() == (row not in (UNTRAINED, REFITTED))
    timings.write(
        out,
        Sitting(
            {"processor": "A"}, (Timing(PLAIN_KL, 1, 150.0, 150.0, 0.0), Timing("cross-entropy", 1, 100.0, 100.0, 0.0))
        ),
    )
    trained("cross-entropy", "--view", "time")
    records = {(record.row, record.view): record for record in read_all(out)}
    assert set(records) == {
        (UNTRAINED, "tokens"),
        (REFITTED, "tokens"),
        (PLAIN_KL, "tokens"),
        ("cross-entropy", "tokens"),
        ("cross-entropy", "time"),
    }
    kl, plain = records[PLAIN_KL, "tokens"], records["cross-entropy", "tokens"]
    assert kl.cost["tokens"] == plain.cost["tokens"] > 0
    assert records[UNTRAINED, "tokens"].cost["tokens"] == records[REFITTED, "tokens"].cost["tokens"] == 0
    figure = "kl_to_teacher_nats_per_token"
    cut, fitted = (records[row, "tokens"].figures["held_out"][figure] for row in (UNTRAINED, REFITTED))
    assert fitted < cut
    assert kl.figures["held_out"][figure] < records[UNTRAINED, "tokens"].figures["held_out"][figure]
    # As much longer as plain KL took, with more text.
    changes = records["cross-entropy", "time"].changes
    assert changes["data"]["train_tokens"] == 6000
    assert records["cross-entropy", "time"].cost["tokens"] > 1.3 * plain.cost["tokens"]
    # Twice the text, and the same start.
    longer = train.settings_of({"data": {"train_tokens": 8000}}, base, 1, Store(tmp_path / "runs" / "store"))
    shorter = train.settings_of({}, base, 1, Store(tmp_path / "runs" / "store"))
    works = [Work(Planner(tmp_path / "runs" / "store"), directly) for _ in range(2)]
    for asked, work in zip((longer, shorter), works, strict=True):
        train.order(asked, shorter, 0, work)
    cuts, datasets = (
        [[each.key for each in work.artifacts if each.kind == kind] for work in works]
        for kind in ("prune_layers", "encode_documents")
    )
    assert cuts[0] == cuts[1] and set(datasets[0]) > set(datasets[1])
    shown = page(list(records.values()), timings.read(out))
    assert "| cross-entropy | 0 |" in shown and "| no training | " in shown
    assert f"seed 0 on {kl.environment['processor']}" in shown
    both = [kl, replace(kl, view="time")]
    assert "on A. Plain KL took 150 seconds in it, before, between and after" in page(both, timings.read(out))
    assert "The sitting was on A." in page(both, timings.read(out)).partition("## Equal wall time")[2]
    longer_text = [document | {"tokens": document["tokens"] + 1} for document in plain.documents]
    others = [kl, replace(plain, documents=longer_text)]
    assert "| cross-entropy | 0 | other held-out text, by other code |" in page(others, timings.read(out))
    # What was trained on another machine is trained again for this view, and what was trained here is not.
    for processor in ("another", kl.environment["processor"]):
        elsewhere = replace(kl, environment=kl.environment | {"processor": processor}, figures={})
        write(out, elsewhere)
        path_of(out, PLAIN_KL, "time", 0).unlink(missing_ok=True)
        trained(PLAIN_KL, "--view", "time")
        (found,) = (each for each in read_all(out) if (each.row, each.view) == (PLAIN_KL, "time"))
        assert found.environment == kl.environment
        assert found.figures == (kl.figures if processor == "another" else {})
    write(out, kl)
    # A record with today's key is not made again: what it says stays.
    path = path_of(out, PLAIN_KL, "tokens", 0)
    before = path.stat().st_mtime_ns
    trained(PLAIN_KL)
    assert path.stat().st_mtime_ns == before
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "of other code"}))
    trained(PLAIN_KL)
    assert key_of(out, PLAIN_KL, "tokens", 0) == kl.key


def test_text_and_start_do_not_depend_on_the_precision_that_trains(base, tmp_path: Path):
    store = Store(tmp_path / "store")
    keys = []
    for precision in ("fp32", "bf16"):
        asked, work = train.settings_of({"precision": precision}, base, 1, store), Work(Planner(store.root), directly)
        train.order(asked, asked, 0, work)
        keys.append({each.kind: each.key for each in work.artifacts})
    assert {"answer_prompts", "encode_documents", "prune_layers"} < keys[0].keys()
    assert [kind for kind, key in keys[0].items() if key != keys[1][kind]] == ["distill"]


def test_where_the_text_is_sorted_the_page_says_that_seeds_are_no_repetition(record_of):
    rows = ("features", "curriculum, easy first (teacher's loss)", "curriculum, hard first", "curriculum, growing pool")
    found = {row: [record_of(row, seed) for seed in (1, 2)] for row in rows}
    (told,) = sorted_once(found)
    assert told.startswith("curriculum, easy first (teacher's loss); curriculum, hard first: ")
    assert list(sorted_once({row: records[:1] for row, records in found.items()})) == []


def test_finalists_are_chosen_on_validation_text_over_all_seeds(record_of):
    nats = {"reverse KL": (1.0, 3.0), "TAID": (1.5, 1.5), "features": (1.9, 1.9), "total variation": (1.6, 1.6)}
    records = [record_of(row, seed, validation=one[seed]) for row, one in nats.items() for seed in (0, 1)]
    records += [record_of(PLAIN_KL, seed, validation=0.1) for seed in (0, 1)]
    # One seed alone is not compared with two.
    records.append(record_of("skewed forward KL", 0, validation=0.2))
    assert finalists.finalists(records, [0, 1]) == ["TAID", "total variation", "features"]
    with pytest.raises(ValueError, match="only 2 techniques have records of seeds 0"):
        finalists.finalists(records[:4], [0])


def test_likeness_is_set_beside_as_many_questions_and_text_at_random():
    def student(row: str, nats: float) -> dict:
        read = [{"document": f"nq-open/{place}", "tokens": 10, "top1_agreements": 4} for place in range(6)]
        named = {"loss_nats": 10 * nats, "kl_to_teacher_nats": 5 * nats}
        figures = dict.fromkeys(FIGURES, nats) | {"documents": 6, "tokens": 60}
        less = {"less": dict.fromkeys(FIGURES, (0.0, (0.0, 0.0)))} if row != PLAIN_KL else {}
        return {"row": row, "seed": 1, "figures": figures, "documents": [each | named for each in read]} | less

    rows = {PLAIN_KL: 2.0, "the half most like the questions": 1.5, "half of the other text, at random": 1.75}
    found = {"compute": {"precision": "fp32"}, "environment": {"processor": "A"}}
    shown = prompts.page(found | {"students": [student(row, nats) for row, nats in rows.items()]})
    assert "\n| 1 | -0.250 (-0.250 to -0.250) | -0.125 (-0.125 to -0.125) | " in shown
    alone = [student(row, nats) for row, nats in list(rows.items())[:2]]
    assert "less half of the other text" not in prompts.page(found | {"students": alone})


def test_students_are_judged_on_answers_to_prompts_that_none_was_trained_on(
    trained, base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sets = [{"kind": "packaged", "name": "nq-open", "limit": 60}]
    content = yaml.safe_load(base.read_text())
    content["data"]["sets"].append(sets[0] | {"limit": 30})
    base.write_text(yaml.safe_dump(content))
    monkeypatch.setattr(prompts, "ASKED", {"data": prompts.ASKED["data"] | {"sets": sets}})
    trained("cross-entropy", "--seed", "1")
    out, runs = tmp_path / "prompts.json", tmp_path / "runs"
    options = ["--base", str(base), "--runs", str(runs), "--out", str(out), "--rows", "cross-entropy", "--seeds", "1"]
    monkeypatch.setattr("sys.argv", ["prompts", *options])
    prompts.main()
    plain, text_alone = json.loads(out.read_text(encoding="utf-8"))["students"]
    assert (plain["row"], text_alone["row"], text_alone["seed"]) == (PLAIN_KL, "cross-entropy", 1)
    assert plain["key"] != text_alone["key"] == key_of(tmp_path / "out", "cross-entropy", "tokens", 1)
    assert all(each["document"].startswith("nq-open/") for each in plain["documents"])
    assert 1 < len(plain["documents"]) < 10, "a twentieth of 60 is held out"
    apart = text_alone["less"]["kl_to_teacher_nats_per_token"][0]
    figures = [each["figures"]["kl_to_teacher_nats_per_token"] for each in (plain, text_alone)]
    assert apart == pytest.approx(figures[1] - figures[0]) != 0
    assert "less" not in plain, "plain KL beside itself"
    gathered = runs / "store" / "gather_documents"
    trained_on, held_out = (
        {str(document.content) for path in gathered.glob(f"*/{split}.jsonl") for document in read_documents(path)}
        for split in ("train", "held_out")
    )
    assert held_out and not held_out & trained_on
    assert f"| cross-entropy | 1 | {text_alone['figures']['held_out_loss_above_teacher_nats_per_token']:.3f}" in (
        out.with_suffix(".md").read_text(encoding="utf-8")
    )


def test_finalists_are_scored_beside_the_teacher(trained, base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    few = {"benchmarks": ["piqa", "openbookqa"], "documents": 6, "batch_size": 32}
    few["behaviour"] = {"suites": ["generations"], "prompts": 2, "new_tokens": 6}
    base.write_text(yaml.safe_dump(yaml.safe_load(base.read_text()) | {"evaluation": few}))
    for row in (PLAIN_KL, "reverse KL"):
        trained(row)
    out = tmp_path / "finalists.json"
    options = ["--base", str(base), "--records", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", ["finalists", *options, "--out", str(out), "--rows", "reverse KL", "--seeds", "0"])
    monkeypatch.setattr(finalists, "BESIDE", (PLAIN_KL,))
    finalists.main()
    models = json.loads(out.read_text(encoding="utf-8"))["models"]
    assert [model["row"] for model in models] == ["teacher", PLAIN_KL, "reverse KL"]
    teacher, student = models[0], models[-1]
    assert "pooled" in student["capability"] and student["generation"]
    for part in ("capability", "generation"):
        for figure, told in student[part].items():
            apart = told["value"] - teacher[part][figure]["value"]
            assert told["difference_to_teacher"] == pytest.approx(apart, abs=1e-9), figure
    assert models[1]["key"] != models[2]["key"] == key_of(tmp_path / "out", "reverse KL", "tokens", 0)
    shown = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| | teacher | plain KL | reverse KL |" in shown
    assert "| pooled, less the teacher's | |" in shown
    # What was ranked is what is scored.
    path = path_of(tmp_path / "out", "reverse KL", "tokens", 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "of other code"}))
    with pytest.raises(ValueError, match="reverse KL, seed 0: its record is of other code or data"):
        finalists.main()
