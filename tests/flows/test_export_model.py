"""`stillhouse export`: from a run's student, or from a model that exists, to a package in a folder of its own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows import export_model
from stillhouse.cli import command
from tests.sealed import seal

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "tests" / "tiny_teacher"


def small_recipe(folder: Path, **changes) -> Path:
    content = {
        "name": "handed-over",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "data": {
            "sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 240}],
            "train_tokens": 4000,
            "validation_tokens": 1500,
            "held_out_tokens": 1500,
        },
        "evaluation": {
            "benchmarks": ["piqa"],
            "documents": 6,
            "behaviour": {"suites": ["generations"], "typo_benchmarks": [], "prompts": 2, "new_tokens": 4},
            "parity_tokens": 500,
            "greedy_tokens": 4,
        },
        "export": {"variants": ["onnx-fp32", "onnx-int8"], "int8": {"validation_tokens": 256}},
        "benchmark": {"prompt_tokens": [8], "new_tokens": 2, "starts": 0},
        "gates": [{"figure": "variants.onnx-fp32.kl_to_fp32", "at_most": 0.001}],
    }
    path = folder / "export.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_a_finished_run_is_exported_without_making_anything_anew(stillhouse, runs: Path, run: Path, tmp_path: Path):
    target = tmp_path / "package"
    done = stillhouse("export", str(run), "--to", str(target))
    assert done.returncode == 0, done.stderr[-3000:]
    # Only the verdict, and what is written from it, know that this was another run.
    made = {line.split(":")[0] for line in done.stderr.splitlines() if ": done" in line}
    assert made <= {"assemble_results", "write_report", "build_package"}
    one, other = (json.loads((path / "manifest.json").read_text())["files"] for path in (run / "package", target))
    variants = {name: digest for name, digest in one.items() if name.startswith("variants/")}
    assert variants and variants == {name: digest for name, digest in other.items() if name.startswith("variants/")}
    assert stillhouse("verify", str(target)).returncode == 0


def test_an_export_that_was_handed_over_can_be_tried_again(stillhouse, run: Path, tmp_path: Path):
    """As by Retry, after the server or the process went away between that and the end."""
    export = ("export", str(run), "--to", str(tmp_path / "package"))
    assert stillhouse(*export).returncode == 0
    again = stillhouse(*export)
    assert again.returncode == 0 and "copied to" in again.stdout, again.stderr[-3000:]
    other = stillhouse(*export, "--variants", "onnx-int4")
    assert other.returncode == 2 and "is there already and not empty" in other.stderr


def test_a_damaged_copy_is_not_taken_for_the_package(tmp_path: Path):
    for name in ("made", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_text("whole")
        seal(tmp_path / name, {})
    assert export_model._holds(tmp_path / "target", tmp_path / "made")
    (tmp_path / "target" / "model.onnx").write_text("cut")
    assert not export_model._holds(tmp_path / "target", tmp_path / "made")


def test_a_copy_that_was_not_finished_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").write_text("a")
        raise OSError(28, "No space left on device", "model.onnx")

    monkeypatch.setattr(export_model, "link_tree", half)
    with pytest.raises(OSError, match="No space left"):
        export_model._hand_over(tmp_path / "made", tmp_path / "package")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_exported_with_other_variants_and_that_one_again(stillhouse, runs: Path, run: Path, tmp_path: Path):
    done = stillhouse("export", str(run), "--to", str(tmp_path / "package"), "--variants", "onnx-int4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "gates on variants that are not made now are left out: variants.onnx-fp32.kl_to_fp32" in done.stderr
    # The exported run stands on the same teacher, student and data: its folder keeps them, and can be exported.
    exported = max((runs / "tiny").iterdir(), key=lambda path: path.stat().st_mtime)
    kinds = {entry["kind"] for entry in json.loads((exported / "run.json").read_text())}
    assert {"load_teacher", "distill", "encode_documents", "build_package"} <= kinds
    again = stillhouse("export", str(exported), "--to", str(tmp_path / "again"), "--variants", "onnx-int4")
    assert again.returncode == 0, again.stderr[-3000:]
    facts = json.loads((tmp_path / "package" / "manifest.json").read_text())["facts"]
    assert set(facts["variants"]) == {"torch-fp32", "onnx-int4"}


@pytest.fixture(scope="module")
def exported(stillhouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny teacher itself, exported as it is."""
    folder = tmp_path_factory.mktemp("export")
    recipe = small_recipe(folder)
    arguments = ("export", str(TEACHER), "--to", str(folder / "package"), "--recipe", str(recipe))
    done = stillhouse(*arguments, "--runs", str(folder / "runs"))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_model_that_exists_becomes_a_package(stillhouse, exported: Path):
    assert stillhouse("verify", str(exported / "package")).returncode == 0
    results = json.loads((exported / "package" / "results.json").read_text())
    assert set(results["models"]) == {"student"}
    assert set(results["variants"]) == {"torch-fp32", "onnx-fp32", "onnx-int8"}
    assert results["models"]["student"]["held_out_loss_above_teacher_nats_per_token"] is None
    assert results["capability"]["piqa"]["student"]["n"] == 6
    said = stillhouse("explain", str(exported / "package"))
    assert said.returncode == 0 and "tiny_teacher" in said.stdout


def test_the_kind_of_int8_is_chosen_on_validation_text_and_both_are_shown(exported: Path):
    results = json.loads((exported / "package" / "results.json").read_text())
    candidates = results["variants"]["onnx-int8"]["candidates"]
    assert {one["kind"] for one in candidates} == {"weight-only", "dynamic"}
    chosen = [one for one in candidates if one["chosen"]]
    assert chosen == [min(candidates, key=lambda one: one["kl_to_fp32"])]


def test_a_gate_blocks_an_export_and_leaves_the_target_alone(stillhouse, exported: Path, tmp_path: Path):
    gates = [{"figure": "models.student.bits_per_byte", "at_most": 0.0}]
    recipe = small_recipe(tmp_path, gates=gates)
    target = tmp_path / "package"
    arguments = ("export", str(TEACHER), "--to", str(target), "--recipe", str(recipe))
    done = stillhouse(*arguments, "--runs", str(exported / "runs"))
    assert done.returncode == 3, done.stderr[-3000:]
    assert not target.exists()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says that exits with 2."""

    def run(*arguments: str) -> str:
        assert command(["export", *arguments]) == 2
        return capsys.readouterr().err

    return run


def test_a_target_with_something_in_it_is_refused(refused, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("precious")
    assert "is there already and not empty" in refused(str(TEACHER), "--to", str(tmp_path))


def test_a_model_without_a_tokenizer_is_refused(refused, tmp_path: Path):
    model = tmp_path / "model"
    shutil.copytree(TEACHER, model)
    for file in model.glob("*token*"):
        file.unlink()
    said = refused(str(model), "--to", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
    assert "tokenizer" in said


def test_an_unknown_variant_is_refused_by_its_name(refused, tmp_path: Path):
    arguments = (str(TEACHER), "--to", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
    assert "onnx-int3" in refused(*arguments, "--variants", "onnx-int3")


def test_a_benchmark_longer_than_the_context_is_refused(refused, tmp_path: Path):
    recipe = small_recipe(tmp_path, benchmark={"prompt_tokens": [8, 1020]})
    arguments = (str(TEACHER), "--to", str(tmp_path / "out"), "--recipe", str(recipe))
    assert "benchmark.prompt_tokens" in refused(*arguments, "--runs", str(tmp_path / "runs"))


def test_a_source_that_is_nothing_is_refused(refused, tmp_path: Path):
    assert "missing model" in refused("./nowhere", "--to", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))


def test_a_folder_that_no_run_left_is_refused_in_words(refused, tmp_path: Path):
    (tmp_path / "run.json").write_text("[]")
    (tmp_path / "results.json").write_text("{}")
    assert "is not what a run leaves" in refused(str(tmp_path), "--to", str(tmp_path / "out"))


def test_a_run_whose_store_is_gone_is_refused(refused, run: Path, tmp_path: Path):
    copy = tmp_path / "runs" / "tiny" / "copied"
    copy.mkdir(parents=True)
    for name in ("run.json", "results.json"):
        shutil.copyfile(run / name, copy / name)
    assert "does not hold what the run" in refused(str(copy), "--to", str(tmp_path / "out"))


def test_a_recipe_beside_a_run_is_refused(refused, run: Path, tmp_path: Path):
    assert "has its own" in refused(str(run), "--to", str(tmp_path / "out"), "--recipe", "other.yaml")


def test_a_target_that_cannot_be_written_is_refused_before_the_work(refused, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(str(TEACHER), "--to", str(tmp_path / "file" / "package"))


def test_a_run_that_did_not_finish_is_refused(refused, tmp_path: Path):
    (tmp_path / "run.json").write_text("[]")
    assert "did not finish" in refused(str(tmp_path), "--to", str(tmp_path / "out"))
