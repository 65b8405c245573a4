"""Sweeps: every entry is checked before anything starts, each is a run, and what they share is made once."""

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.sweep.comparison import Comparison
from flows import preflight, server, side_by_side, sweep_entries
from flows.estimate import Room
from flows.run_folder import references_of_runs
from flows.side_by_side import Piece, Places, in_threads
from flows.sweep_entries import Entry, RunsFailed, Sweep, check_sweep, run_sweep, summary_of
from flows.work import directly
from stillhouse import machine
from stillhouse.cli import command
from stillhouse.errors import InputError
from stillhouse.recipe.changes import Changes
from stillhouse.store.collect import collect

ROOT = Path(__file__).parents[2]
LOCAL = Places("local", workers=2)


def write_recipe(folder: Path, **others: Any) -> Path:
    """The tiny recipe, cut to what takes seconds."""
    content = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
    content |= {"teacher": str(ROOT / "tests" / "tiny_teacher"), "gates": [], "export": {"variants": ["torch-fp32"]}}
    content["data"] |= {
        "sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 60}],
        "train_tokens": 4000,
        "validation_tokens": 1500,
        "held_out_tokens": 1500,
    }
    content["student"]["ranking_tokens"] = 512
    content["distillation"] |= {"steps": 3, "warmup_steps": 1}
    content["evaluation"] |= {"benchmarks": ["piqa"], "documents": 4, "variant_documents": 4}
    content["evaluation"] |= {"behaviour": {"suites": []}, "parity_tokens": 600}
    content["benchmark"] = {"prompt_tokens": [8], "new_tokens": 4, "starts": 0}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content | others))
    return folder / "tiny.yaml"


def asked(folder: Path, *changes: Changes, places: Places = LOCAL, **others: Any) -> Sweep:
    return Sweep(write_recipe(folder, **others), changes, places, folder / "runs")


def test_every_entry_that_cannot_run_is_named_by_its_number_before_anything_starts(tmp_path: Path):
    wrong = (Changes(layers=9), Changes(layers=3), Changes(teacher="nowhere/at/all"), Changes(layers=9, alpha=0.1))
    with pytest.raises(InputError) as refused:
        check_sweep(asked(tmp_path, *wrong))
    first, second = str(refused.value).splitlines()
    # One problem of two entries is said once.
    assert first.startswith("entry 1 (layers 9), entry 4 (layers 9, alpha 0.1): student.layers is 9")
    assert second.startswith("entry 3 (teacher nowhere/at/all): ")
    assert not (tmp_path / "runs" / "tiny").exists()


def test_entries_that_come_to_the_same_are_one_run(tmp_path: Path):
    # The recipe keeps four layers, so saying so changes nothing.
    entries = check_sweep(asked(tmp_path, Changes(), Changes(layers=3), Changes(layers=4), Changes(layers=3)))
    assert entries == (Entry((1, 3), Changes()), Entry((2, 4), Changes(layers=3)))
    assert entries[0].piece(asked(tmp_path)).name == "Run 1, 3: as the recipe says"


def test_a_sweep_without_entries_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="changes is empty"):
        check_sweep(asked(tmp_path))


def test_runs_share_the_cores_that_a_recipe_leaves_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    shares = {
        places: asked(tmp_path, places=places).threads
        for places in (
            Places("local", 1),
            Places("local", 3),
            Places("dask", 16),
            Places("dask", 4, "tcp://there:8786"),
        )
    }
    assert list(shares.values()) == [8, 2, 1, 8]


def test_all_entries_plan_with_one_number_of_threads_and_share_what_comes_before_them(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 6)
    plans = []
    check = sweep_entries.check_recipe

    def noted(*arguments: Any, **settings: Any) -> Any:
        found = check(*arguments, **settings)
        plans.append(found.planned().artifacts)
        return found

    monkeypatch.setattr(sweep_entries, "check_recipe", noted)
    check_sweep(asked(tmp_path, Changes(), Changes(temperature=4.0), threads="auto", places=Places("local", 3)))
    one, other = ({reference.kind: reference.key for reference in plan} for plan in plans)
    shared = {kind for kind in one if one[kind] == other[kind]}
    assert {"load_teacher", "gather_documents", "answer_prompts", "encode_documents", "prune_layers"} <= shared
    assert "distill" not in shared
    # A recipe that names its threads gets them, beside others or not.
    check_sweep(asked(tmp_path, Changes(), threads=2, places=Places("local", 3)))
    check_sweep(asked(tmp_path, Changes(), threads="auto", places=Places("local", 3)))
    assert plans[-1] == plans[-2]


def test_more_runs_at_once_than_the_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Of the tiny recipe's run, preflight takes about 0.8 GB for granted.
    monkeypatch.setattr(preflight, "room", lambda device, store: Room(memory_bytes=2 * 10**9, disk_bytes=10**12))
    many = [Changes(temperature=float(number)) for number in range(1, 5)]
    assert len(check_sweep(asked(tmp_path, *many))) == 4
    with pytest.raises(InputError, match="too little memory.*let fewer than 4 runs work at once"):
        check_sweep(asked(tmp_path, *many, places=Places("local", 9)))
    # On the machines of a cluster each has its own.
    assert len(check_sweep(asked(tmp_path, *many, places=Places("dask", 9, "tcp://there:8786")))) == 4


def test_a_sweep_compares_its_runs_and_names_those_that_failed(tmp_path: Path):
    """Real runs, two at a time, of which one asks for data that only its third stage can know to be missing."""
    sweep = asked(tmp_path, Changes(), Changes(layers=3), Changes(train_tokens=1), Changes(layers=4))
    swept = run_sweep(sweep, check_sweep(sweep), in_threads, directly)

    found = Comparison.model_validate_json((swept.folder / "comparison.json").read_text())
    assert [(row.name, row.equal, row.verdict) for row in found.runs] == [
        ("1", [4], "ships"),
        ("2", [], "ships"),
        ("3", [], None),
    ]
    # Each figure is the one that the run itself gives.
    for row in found.runs[:2]:
        results = json.loads((tmp_path / "runs" / row.run / "results.json").read_text())
        assert row.student.model_dump(mode="json") == results["models"]["student"]
        assert row.variants["torch-fp32"].size_bytes == results["variants"]["torch-fp32"]["size_bytes"]
    assert found.fronts["size_bytes"]
    failure = found.runs[2].failed
    assert "train_tokens" in failure

    with pytest.raises(RunsFailed) as refused:
        swept.refuse_failures()
    assert f"1 of 3 runs failed: run 3 (training tokens 1): {failure}" in str(refused.value)
    assert str(swept.folder) in str(refused.value) and refused.value.folder == swept.folder

    # What the entries share was made once, though they asked for it at the same time.
    made = Counter(
        path.parent.name for path in (tmp_path / "runs/store").glob("*/*") if (path / "manifest.json").exists()
    )
    assert {kind: made[kind] for kind in ("probe_precision", "load_teacher", "gather_documents")} == dict.fromkeys(
        ("probe_precision", "load_teacher", "gather_documents"), 1
    )
    assert made["encode_documents"] == 1 and made["distill"] == 2

    # The sweep's folder keeps its comparison, as a run's folder keeps what the run made.
    runs = tmp_path / "runs"
    assert {reference.kind for reference in references_of_runs(runs)} >= {"compare_runs", "distill"}
    assert collect(runs / "store", lambda: references_of_runs(runs), dry_run=True) == []


def test_an_entry_that_dies_is_a_row_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(side_by_side.child, "run", dies)
    sweep = asked(tmp_path, Changes(), Changes(layers=3))
    swept = run_sweep(sweep, check_sweep(sweep), in_threads, directly)
    assert [run.failed for run in swept.runs] == ["the process was killed by signal 9"] * 2
    assert summary_of(swept.folder).splitlines()[0] == "COMPARED: 2 runs of tiny, 2 failed"
    with pytest.raises(RunsFailed, match="2 of 2 runs failed"):
        swept.refuse_failures()


def dies(function: str, payload: dict[str, Any]) -> dict[str, Any]:
    raise side_by_side.child.ChildError("the process was killed by signal 9; it last said: a lot\nof lines")


def test_an_entry_is_told_all_it_needs_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its process may start in another folder, so every path is whole; and what it is told goes through JSON."""
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path)
    sweep = Sweep(Path("tiny.yaml"), (Changes(variants=("onnx-int4",)),), LOCAL, Path("runs"))
    piece = Entry((1,), sweep.changes[0]).piece(sweep)
    assert isinstance(piece, Piece)
    told = json.loads(json.dumps(piece.payload))
    assert Path(told["recipe"]).is_absolute() and Path(told["runs"]).is_absolute()
    assert Changes.model_validate(told["changes"]) == sweep.changes[0]


def test_the_form_asks_in_a_sensible_order_and_wants_an_entry():
    from prefect.utilities.callables import parameter_schema

    from flows.sweep import sweep

    schema = parameter_schema(sweep)
    in_order = sorted(schema.properties, key=lambda name: schema.properties[name]["position"])
    assert in_order == ["preset", "recipe", "changes", "runner", "workers", "scheduler", "runs"]
    assert schema.properties["changes"]["minItems"] == 1
    assert schema.properties["runner"]["enum"] == ["local", "dask"]
    assert schema.properties["workers"]["minimum"] == 1
    assert all(schema.properties[name].get("description") for name in in_order)


@pytest.mark.parametrize("shown", [False, True])
def test_the_command_ends_alike_with_a_server_and_without(shown: bool, tmp_path: Path, monkeypatch, capsys):
    """A run that failed is a failure, and no wrong input: the others are compared, and the summary says where."""
    monkeypatch.setattr(side_by_side.child, "run", dies)
    # The module, and not the flow of its name.
    flow = import_module("flows.sweep")
    monkeypatch.setattr(server, "is_usable", lambda: shown)

    def swept_in_flow(recipe: str, runs: str, scheduler: str, changes: tuple[Changes, ...], runner: str, workers: int):
        sweep = Sweep(Path(recipe), changes, Places(runner, workers, scheduler), Path(runs))
        run_sweep(sweep, check_sweep(sweep), in_threads, directly).refuse_failures()

    monkeypatch.setattr(flow, "sweep", swept_in_flow)
    (tmp_path / "changes.yaml").write_text("-\n- {layers: 3}\n")
    told = ["--changes", str(tmp_path / "changes.yaml"), "--runs", str(tmp_path / "runs")]
    assert command(["sweep", str(write_recipe(tmp_path)), *told]) == 1
    said = capsys.readouterr().out
    assert said.startswith("COMPARED: 2 runs of tiny, 2 failed") and "comparison.html" in said
