"""What `check` refuses, each with words that say what to do, and what it answers for a recipe that can run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows import estimate, preflight
from stillhouse.cli import command
from stillhouse.errors import InputError
from stillhouse.recipe import load_recipe
from stillhouse.store.store import Store

LINES = [{"text": f"Number {number} is a plain sentence about copper stills and malt."} for number in range(60)]


@pytest.fixture
def write(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write a working recipe beside its data, with changes by dotted key."""
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, LINES)))

    def write_recipe(**changes) -> Path:
        recipe = {
            "name": "mine",
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "teacher": str(tiny_model),
            "data": {"sets": [{"kind": "jsonl", "path": "data.jsonl"}], "sequence_length": 32},
            "student": {"kind": "depth", "layers": 1},
            "benchmark": {"prompt_tokens": [8, 16], "new_tokens": 4},
        }
        for key, value in changes.items():
            section, _, name = key.partition("__")
            if name:
                recipe.setdefault(section, {})[name] = value
            else:
                recipe[section] = value
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write_recipe


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(InputError) as caught:
        preflight.check(path, tmp_path / "runs")
    return str(caught.value)


def test_a_recipe_that_can_run_is_told_what_it_costs(write, tmp_path):
    said = preflight.check(write(), tmp_path / "runs")
    assert "can run on cpu in fp32 with 1 threads" in said
    assert "disk" in said and "memory" in said and "min" in said


def test_the_command_line_exits_0_or_2_and_prints_no_traceback(write, tmp_path, capsys):
    assert command(["check", str(write()), "--runs", str(tmp_path / "runs")]) == 0
    assert command(["check", str(tmp_path / "none.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("stillhouse: no recipe at") and "Traceback" not in said


def test_a_missing_teacher(write, tmp_path):
    assert "missing teacher" in refused(write(teacher="./nowhere"), tmp_path)


def test_more_layers_than_there_are(write, tmp_path):
    said = refused(write(student={"kind": "depth", "layers": 3}), tmp_path)
    assert "student.layers is 3" in said and "keep between 1 and 2" in said


def test_a_student_with_another_tokenizer(write, tmp_path, tiny_model):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    said = refused(write(student={"kind": "model", "source": str(other)}), tmp_path)
    assert "the tokenizers differ" in said


def test_a_student_with_the_same_tokenizer_is_welcome(write, tmp_path, tiny_model):
    assert "can run" in preflight.check(write(student={"kind": "model", "source": str(tiny_model)}), tmp_path / "runs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no document"),
        ('{"text": "fine"}\n{"text": \n', "line 2"),
        ('{"text": "fine"}\n["not an object"]\n', "line 2"),
        ('{"words": "neither text nor messages"}\n', "line 1"),
    ],
)
def test_data_that_cannot_be_read(write, tmp_path, text, words):
    path = write()
    (tmp_path / "data.jsonl").write_text(text)
    assert words in refused(path, tmp_path)


def test_missing_data(write, tmp_path):
    path = write()
    (tmp_path / "data.jsonl").unlink()
    assert "no data file" in refused(path, tmp_path)


def test_held_out_text_that_occurs_in_training(write, tmp_path):
    (tmp_path / "held.jsonl").write_text(json.dumps(LINES[3]))
    sets = [{"kind": "jsonl", "path": "data.jsonl", "held_out": "held.jsonl"}]
    assert "held-out text is trained on as well" in refused(write(data__sets=sets), tmp_path)


def test_an_unknown_benchmark(write, tmp_path):
    said = refused(write(evaluation={"benchmarks": ["arc_eazy"]}), tmp_path)
    assert "arc_eazy" in said and "arc_easy" in said


def test_a_gate_on_a_figure_that_no_stage_produces(write, tmp_path):
    gate = {"figure": "models.student.held_out_los", "at_most": 1}
    said = refused(write(gates=[gate]), tmp_path)
    assert "models.student.held_out_los" in said


def test_rows_longer_than_the_context(write, tmp_path):
    assert "context holds 128" in refused(write(data__sequence_length=512), tmp_path)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"data__answers": {"max_new_tokens": 128}}, "data.answers.max_new_tokens is 128"),
        (
            {"data__sets": [{"kind": "reasoning", "rationales": {"kind": "teacher", "max_new_tokens": 192}}]},
            "data.sets.0.rationales.max_new_tokens is 192",
        ),
    ],
)
def test_answers_that_leave_no_room_for_a_prompt(write, tmp_path, asked, name):
    said = refused(write(**asked), tmp_path)
    assert name in said and "teacher's context holds 128 tokens, prompt and answer together" in said


def test_answers_that_fill_a_training_row(write, tmp_path):
    prompts = {"data__sets": [{"kind": "packaged", "name": "nq-open", "limit": 20}], "data__sequence_length": 64}
    assert "a training row of data.sequence_length 64 holds" in refused(
        write(**prompts, data__answers={"max_new_tokens": 64}), tmp_path
    )
    texts = {"data__sets": [{"kind": "packaged", "name": "boolq-passages", "limit": 20}], "data__sequence_length": 64}
    preflight.check(write(**texts, data__answers={"max_new_tokens": 64}), tmp_path / "runs")


def test_continuations_longer_than_the_context(write, tmp_path):
    assert "16 + evaluation.greedy_tokens is 136" in refused(write(evaluation={"greedy_tokens": 120}), tmp_path)


def test_steps_are_what_a_recipe_costs(write, tmp_path):
    said = preflight.check(write(distillation={"steps": 50, "batch_rows": 2}), tmp_path / "runs")
    assert "at most 3,200 tokens" in said


VERIFIED = {"sampled": {"keep": {"verified": True}}}


def test_verified_responses_where_no_prompt_of_the_file_has_tests(write, tmp_path):
    recipe = write(data__answers=VERIFIED)
    assert "says how prompts are answered, and no file has one" in refused(recipe, tmp_path)
    asked = {"messages": [{"role": "user", "content": "What is malt?"}]}
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, [*LINES, asked])))
    assert "keep.verified is true, but of 1 prompts none has a verifier" in refused(recipe, tmp_path)


def test_tests_that_no_sandbox_here_can_run(write, tmp_path, monkeypatch):
    path = write(data__answers=VERIFIED)
    prompt = {"messages": [{"role": "user", "content": "write add"}], "tests": "assert add(1, 2) == 3"}
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, [*LINES, prompt])))
    monkeypatch.setattr("stillhouse.sandbox.run.platform.system", lambda: "Darwin")
    assert "this is Darwin" in (said := refused(path, tmp_path)) and "take the tests out" in said


def test_a_gate_on_a_prompt_length_that_is_not_timed(write, tmp_path):
    gate = {"figure": "variants.onnx-int4.by_prompt_tokens.64.time_to_first_token_ms.p99", "at_most": 1000}
    assert "by_prompt_tokens.64" in refused(write(gates=[gate]), tmp_path)


def test_a_benchmark_longer_than_the_context(write, tmp_path):
    said = refused(write(benchmark={"prompt_tokens": [8, 126], "new_tokens": 4}), tmp_path)
    assert "benchmark.prompt_tokens + new_tokens is 130" in said and "context holds 128" in said


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"benchmarks": ["humaneval"]}, "humaneval (evaluation.benchmarks) asks for answers of up to 256 tokens"),
        ({"benchmarks": ["reasoning_steps"]}, "asks for answers of up to 192 tokens"),
        ({"benchmarks": ["gsm8k_cot_zeroshot"]}, "asks for answers of up to 256 tokens"),
    ],
)
def test_answers_as_long_as_the_context(write, tmp_path, asked, words):
    said = refused(write(evaluation={**asked, "documents": 2, "behaviour": {"suites": []}}), tmp_path)
    assert words in said and "context holds 128, question and answer together" in said


def test_an_unknown_variant(write, tmp_path):
    said = refused(write(export={"variants": ["onnx-int3"]}), tmp_path)
    assert "export.variants.0" in said and "onnx-int4" in said


def test_an_unknown_behaviour_suite(write, tmp_path):
    said = refused(write(evaluation={"behaviour": {"suites": ["astrology"]}}), tmp_path)
    assert "evaluation.behaviour.suites.0" in said and "stereoset" in said


def test_typing_errors_in_a_benchmark_that_is_not_scored(write, tmp_path):
    said = refused(write(evaluation={"benchmarks": ["piqa"]}), tmp_path)
    assert "typo_benchmarks has 'arc_easy'" in said


def test_a_benchmark_whose_data_no_package_carries(write, tmp_path):
    asked = {"benchmarks": ["toxigen"], "behaviour": {"suites": []}}
    assert "no package here carries its data" in refused(write(evaluation=asked), tmp_path)


def test_a_device_that_is_not_there(write, tmp_path):
    assert "device 'cuda:7' cannot be used here" in refused(write(device="cuda:7"), tmp_path)


def test_too_little_disk(write, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "too little disk" in refused(write(), tmp_path)


def test_too_little_memory(write, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate.machine, "memory_bytes", lambda: 1000)
    assert "too little memory" in refused(write(), tmp_path)


def test_nothing_is_made_when_a_recipe_is_refused(write, tmp_path):
    assert command(["run", str(write(teacher="./nowhere")), "--runs", str(tmp_path / "runs")]) == 2
    assert not list(tmp_path.glob("runs/*/*/results.json"))
    assert not (tmp_path / "runs" / "mine").exists()


def decided(recipe: Path, runs: Path) -> bool | str:
    found = preflight.examine(load_recipe(recipe), recipe.parent, Store(runs / "store"))
    return found.settings.distill.training.compile


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_training_is_compiled_where_a_compiler_works(write, tmp_path):
    assert decided(write(compute__compile="auto"), tmp_path) is True
    assert decided(write(), tmp_path) is False


def test_without_a_compiler_auto_trains_as_it_is_and_compiling_is_refused(write, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert decided(write(compute__compile="auto"), tmp_path) is False
    words = "compute.compile is true, and torch.compile does not work on this machine"
    assert words in refused(write(compute__compile=True), tmp_path)


def test_a_suite_whose_benchmarks_hold_fewer_documents_is_accepted_in_a_recipe(write):
    recipe = load_recipe(write(evaluation__suite="standard"))
    assert recipe.evaluation.fewer_documents == "all asked"
    preflight._check_measures(recipe)
    refusing = recipe.evaluation.model_copy(update={"fewer_documents": "refused"})
    with pytest.raises(InputError, match="but copa has 100"):
        preflight._check_measures(recipe.model_copy(update={"evaluation": refusing}))
