"""`stillhouse evaluate`: a model, or the variants of a package, scored by the same tasks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.cli import command

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "tests" / "tiny_teacher"
QUICK = ("--benchmarks", "piqa,arc_easy", "--behaviour", "none", "--limit", "12")


@pytest.fixture(scope="module")
def scores(stillhouse, run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Every variant of the tiny run's package."""
    folder = tmp_path_factory.mktemp("evaluate")
    arguments = ("evaluate", str(run / "package"), *QUICK, "--json", str(folder / "scores.json"))
    done = stillhouse(*arguments, "--runs", str(folder / "runs"))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "scores.json").read_text())


def test_each_variant_of_a_package_is_scored_from_its_own_bytes(run: Path, scores: dict):
    package = json.loads((run / "results.json").read_text())["package"]
    assert sorted(scores) == package["variants"]
    for found in scores.values():
        assert set(found["capability"]) == {"piqa", "arc_easy", "pooled"}
        assert found["capability"]["pooled"]["n"] == 24


def test_onnx_fp32_scores_as_torch_fp32_does(scores: dict):
    assert scores["onnx-fp32"]["capability"] == scores["torch-fp32"]["capability"]


def test_a_model_is_scored_with_its_behaviour(stillhouse, tmp_path: Path):
    arguments = ("evaluate", str(TEACHER), "--benchmarks", "piqa", "--behaviour", "stereoset", "--limit", "8")
    done = stillhouse(*arguments, "--json", str(tmp_path / "scores.json"), "--runs", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "scores.json").read_text())["model"]
    assert found["capability"]["piqa"]["n"] == 8
    assert set(found["behaviour"]) == {
        "stereoset_language_model_score",
        "stereoset_stereotype_score",
        "stereoset_icat",
    }
    assert "stereoset_icat" in done.stdout
    # What an evaluation made is kept from `gc` by its folder.
    gone = stillhouse("gc", "--runs", str(tmp_path / "runs"), "--dry-run")
    assert "evaluate_capability/" not in gone.stdout


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says that exits with 2."""

    def run(*arguments: str) -> str:
        assert command(["evaluate", *arguments, "--runs", str(tmp_path / "runs")]) == 2
        return capsys.readouterr().err

    return run


def test_an_unknown_variant_is_refused(refused, run: Path):
    said = refused(str(run / "package"), "--variant", "onnx-int3")
    assert "onnx-int3" in said and "onnx-int4" in said


def test_a_suite_without_data_is_refused(refused):
    assert "no package here carries its data" in refused(str(TEACHER), "--benchmarks", "lambada_openai")


def test_an_unknown_suite_is_refused(refused):
    assert "astrology" in refused(str(TEACHER), "--behaviour", "astrology")


def test_a_file_that_cannot_be_written_is_refused_before_the_work(refused, tmp_path: Path):
    assert "cannot be written" in refused(str(TEACHER), "--json", str(tmp_path / "none" / "scores.json"))


def test_a_folder_with_another_programs_manifest_is_refused(refused, tmp_path: Path):
    (tmp_path / "manifest.json").write_text('{"name": "an extension"}')
    assert "is not what it says (manifest.json cannot be read" in refused(str(tmp_path))


def test_a_manifest_that_hides_a_variant_is_refused(refused, run: Path, tmp_path: Path):
    package = tmp_path / "package"
    shutil.copytree(run / "package", package)
    content = json.loads((package / "manifest.json").read_text())
    content["facts"]["variants"].pop("onnx-int4")
    (package / "manifest.json").chmod(0o644)
    (package / "manifest.json").write_text(json.dumps(content))
    assert "says other facts" in refused(str(package))


def test_more_documents_than_there_are_is_refused(refused):
    assert "openbookqa has 500" in refused(str(TEACHER), "--limit", "501")


def test_a_damaged_package_is_refused(refused, run: Path, tmp_path: Path):
    package = tmp_path / "package"
    shutil.copytree(run / "package", package)
    file = package / "variants/onnx-int4/tokenizer.json"
    file.chmod(0o644)
    file.write_text(file.read_text() + " ")
    assert "is not what it says" in refused(str(package))
