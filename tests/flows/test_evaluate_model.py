"""`stillhouse evaluate`: a model, or the variants of a package, scored by the same tasks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi

from evaluation.batch_dependence import LIMIT_NATS
from evaluation.results import Score
from flows import evaluate_model
from flows.evaluate_model import (
    SCORES,
    Checked,
    Wish,
    check_evaluation,
    evaluate,
    failures,
    flow_parameters,
    request_of,
    run_evaluation,
    table,
)
from flows.work import directly
from stillhouse.cli import command
from stillhouse.errors import InputError
from stillhouse.models.adopted import AdoptSettings, adopt_variant
from stillhouse.models.load import load_model
from stillhouse.recipe.source import Source
from stillhouse.store.artifact import digest_of, hash_files
from stillhouse.store.store import Store

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


def test_scores_are_those_of_results_json_with_the_difference_to_torch_fp32(scores: dict):
    for name, found in scores.items():
        for score in found["capability"].values():
            assert Score(**score).model_dump(mode="json") == score
            assert (score["difference_to_teacher"] is None) == (name == "torch-fp32")
    for benchmark, score in scores["onnx-fp32"]["capability"].items():
        assert (score["value"], score["gained"], score["lost"]) == (
            scores["torch-fp32"]["capability"][benchmark]["value"],
            0,
            0,
        )


def test_what_batching_does_to_a_variant_stands_beside_its_scores(scores: dict):
    for name in ("torch-fp32", "onnx-fp32", "onnx-int4"):
        assert 0 <= scores[name]["batch_dependence_nats"] < LIMIT_NATS


def test_a_variant_that_depends_on_its_batch_is_told_from_a_model_in_bf16():
    from flows.evaluate_model import table

    moved = {"batch_dependence_nats": 0.2}
    assert "moves by 0.200 nats: not to be served in batches" in table({"onnx-int8": moved})
    assert "moves by 0.200 nats: bf16 rounds so" in table({"model": moved | {"precision": "bf16"}})
    assert "moves" not in table({"onnx-fp32": {"batch_dependence_nats": 1e-6}})


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


@pytest.fixture(scope="module")
def runs_of_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for models that are scored alone: the precisions are timed once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The tiny teacher with weights that are no numbers."""
    model = load_model(TEACHER, device="cpu", dtype="fp32")
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = float("nan")
    shutil.copytree(TEACHER, tmp_path / "broken")
    model.save_pretrained(tmp_path / "broken")
    return tmp_path / "broken"


def test_a_variant_that_fails_in_the_middle_is_a_row_with_its_reason_and_the_others_finish(
    broken, runs_of_models: Path
):
    request = request_of(Wish(str(TEACHER), benchmarks=("piqa",), behaviour=("stereoset",), limit=4, device="cpu"))
    folders = {"torch-fp32": TEACHER, "bad": broken, "good": TEACHER}
    subjects = {
        name: AdoptSettings(
            source=Source(kind="directory", digest=digest_of(hash_files(folder)), location=str(folder), name=name)
        )
        for name, folder in folders.items()
    }
    folder = run_evaluation(request, Checked(subjects), runs_of_models, directly)
    found = json.loads((folder / SCORES).read_text())
    assert failures(found) == ["bad"]
    assert "FloatingPointError in evaluate_capability" in found["bad"]["reason"]
    assert "document 0 of piqa" in found["bad"]["reason"]
    for name in ("torch-fp32", "good"):
        assert found[name]["capability"]["piqa"]["n"] == 4 and found[name]["behaviour"]
    assert "bad: FloatingPointError" in table(found)


CRASH = """
import sys

if "evaluation.capability:score_apart" in sys.orig_argv:
    import os
    import onnxruntime

    class Session(onnxruntime.InferenceSession):
        def run(self, *arguments, **options):
            os.abort()

        run_with_iobinding = run

    onnxruntime.InferenceSession = Session
"""


def test_a_variant_whose_runtime_crashes_the_process_is_a_row_and_the_others_finish(
    run: Path, runs_of_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text(CRASH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    request = request_of(Wish(str(run / "package"), benchmarks=("piqa",), behaviour=(), limit=4, device="cpu"))
    subjects = check_evaluation(request).subjects
    some = Checked({name: subjects[name] for name in ("onnx-fp32", "torch-fp32")})
    folder = run_evaluation(request, some, runs_of_models, directly)
    found = json.loads((folder / SCORES).read_text())
    assert failures(found) == ["onnx-fp32"]
    assert "was killed by signal 6" in found["onnx-fp32"]["reason"]
    assert found["torch-fp32"]["capability"]["piqa"]["n"] == 4


def test_what_a_model_could_not_read_whole_is_counted_beside_its_scores(stillhouse, runs_of_models, tmp_path: Path):
    short = tmp_path / "short"
    shutil.copytree(TEACHER, short)
    config = json.loads((short / "config.json").read_text(encoding="utf-8")) | {"max_position_embeddings": 200}
    (short / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arguments = ("evaluate", str(short), "--benchmarks", "boolq,arc_easy", "--behaviour", "none", "--limit", "3")
    done = stillhouse(*arguments, "--json", str(tmp_path / "scores.json"), "--runs", str(runs_of_models))
    assert done.returncode == 0, done.stderr[-3000:]
    cut = json.loads((tmp_path / "scores.json").read_text())["model"]["cut"]
    # A passage is longer than 200 tokens, a question of grade school is not.
    assert set(cut) == {"boolq"} and cut["boolq"] > 0
    assert f"boolq: {cut['boolq']} requests were longer than the model reads" in done.stdout


def test_a_part_that_failed_is_told_by_the_exit_code(stillhouse, broken, runs_of_models, tmp_path: Path):
    arguments = ("evaluate", str(broken), "--benchmarks", "piqa", "--behaviour", "none", "--limit", "4")
    done = stillhouse(*arguments, "--json", str(tmp_path / "scores.json"), "--runs", str(runs_of_models))
    assert done.returncode == 1
    assert "document 0 of piqa" in json.loads((tmp_path / "scores.json").read_text())["model"]["reason"]


def test_a_task_that_could_not_be_scored_is_told_and_counts_as_a_failure():
    scores = {"model": {"not_scored": {"swag": "its labels do not fit"}, "capability": {}, "behaviour": {}}}
    assert failures(scores) == ["model"]
    assert "swag could not be scored: its labels do not fit" in evaluate_model.table(scores)


def test_a_suite_stands_under_what_is_said_beside_it_and_a_limit_over_both():
    suite = request_of(Wish("x", suite="quick")).evaluation
    assert suite.suite == "quick" and len(suite.benchmarks) > 3
    told = request_of(Wish("x", suite="quick", benchmarks=("piqa",), behaviour=())).evaluation
    assert told.benchmarks == ("piqa",) and told.behaviour.suites == ()
    assert told.documents == suite.documents
    assert request_of(Wish("x", suite="quick", limit=3)).evaluation.documents == 3
    assert request_of(Wish("x", suite="quick", limit=10**6)).evaluation.documents == suite.documents
    assert request_of(Wish("x", documents=12, limit=40)).evaluation.documents == 12


def test_a_limit_reaches_prompts_bias_and_harm_too():
    def counts(limit: int | None) -> tuple[int, int, int]:
        behaviour = request_of(Wish("x", suite="standard", limit=limit)).evaluation.behaviour
        return behaviour.prompts, behaviour.bias_documents, behaviour.harm_prompts

    assert counts(10) == (10, 10, 10)
    # No fewer than the suites can be measured on.
    assert counts(3) == (3, 4, 4)
    assert counts(10**6) == counts(None) == (24, 50, 24)


def test_an_order_of_options_is_changed_where_a_benchmark_that_shows_them_is_asked():
    told = request_of(Wish("x", benchmarks=("piqa", "mmlu"), behaviour=("robustness",))).evaluation.behaviour
    assert told.robustness_benchmarks == ("piqa", "mmlu")
    alone = request_of(Wish("x", benchmarks=("commonsense_qa",), behaviour=("robustness",))).evaluation.behaviour
    assert alone.robustness_benchmarks == ("commonsense_qa",)
    suite = request_of(Wish("x", suite="standard")).evaluation.behaviour
    assert suite.robustness_benchmarks == ("arc_easy", "piqa", "commonsense_qa")
    # What a model was trained on is not at hand.
    assert "robustness" in suite.suites and "recitation" not in suite.suites


@pytest.mark.parametrize(
    "wish",
    [
        Wish("x"),
        Wish("x", variant="onnx-int4", suite="quick", limit=3),
        Wish("x", benchmarks=(), behaviour=(), documents=7),
        Wish("x", benchmarks=("piqa", "swag"), behaviour=("stereoset",)),
        Wish("x", benchmarks=("swag",)),
    ],
)
def test_the_flow_is_asked_what_the_command_line_was(wish: Wish, monkeypatch):
    """A form has no empty fields that mean nothing: what is left open has a word there."""
    asked = []
    monkeypatch.setattr(evaluate_model, "request_of", lambda wish: asked.append(wish))
    monkeypatch.setattr(evaluate_model, "attended", lambda work: work())
    monkeypatch.setattr(evaluate_model, "_in_flow", lambda request, runs: None)
    parameters = evaluate.validate_parameters(flow_parameters(wish))
    evaluate.fn(**parameters)
    assert asked == [wish]


def test_an_unknown_suite_of_benchmarks_is_refused(refused):
    assert "there is no suite 'quickest'; take one of full, quick, standard" in refused(
        str(TEACHER), "--suite", "quickest"
    )


def test_a_task_without_data_is_refused_where_no_hub_is_in_reach(refused, monkeypatch):
    def away(self, name, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "dataset_info", away)
    assert "no package here carries its data" in refused(str(TEACHER), "--benchmarks", "piqa,swag")


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
    assert "openbookqa has 500" in refused(str(TEACHER), "--documents", "501")


@pytest.mark.parametrize("name", ["humaneval", "reasoning_steps"])
def test_answers_as_long_as_the_context_are_refused_before_anything_is_scored(refused, tiny_model: Path, name):
    said = refused(str(tiny_model), "--benchmarks", name, "--behaviour", "none", "--limit", "4")
    assert "asks for answers of up to" in said and "context holds 128, question and answer together" in said


def test_a_damaged_package_is_refused(refused, run: Path, tmp_path: Path):
    package = tmp_path / "package"
    shutil.copytree(run / "package", package)
    file = package / "variants/onnx-int4/tokenizer.json"
    file.chmod(0o644)
    file.write_text(file.read_text() + " ")
    assert "is not what it says" in refused(str(package))


def test_a_folder_that_changed_while_it_was_read_is_not_taken_for_what_it_was(tmp_path: Path):
    source = Source(kind="directory", digest="0" * 64, location=str(TEACHER), name="torch-fp32")
    with pytest.raises(InputError, match="torch-fp32 changed while it was read: .* give the package again"):
        Store(tmp_path).make(adopt_variant, AdoptSettings(source=source), {})
