"""recipes/tiny.yaml from end to end: the real stages on a one-megabyte teacher, run as a user runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "tiny.yaml"
BENCHMARKS = ("arc_easy", "piqa", "hellaswag", "boolq", "winogrande", "openbookqa")
VARIANTS = ("torch-fp32", "bnb-int8", "bnb-nf4", "onnx-fp32", "onnx-int8", "onnx-int4")
# What the tests of this file read from a run's folder.
LEFT = ("results.json", "report.html", "report.md", "plots", "package", "run.json")


def run_of(runs: Path, name: str = "tiny") -> Path:
    return max((runs / name).iterdir(), key=lambda path: path.stat().st_mtime)


def test_a_run_leaves_what_it_promises(run: Path, results: dict):
    for name in LEFT:
        assert (run / name).exists(), name
    jsonschema.validate(results, json.loads((ROOT / "docs" / "schemas" / "results.schema.json").read_text()))
    assert set(results["models"]) == {"teacher", "pruned", "student"}
    assert set(results["capability"]) == {*BENCHMARKS, "pooled"}
    assert set(results["contamination"]) == set(BENCHMARKS)
    assert max(one["share"] for one in results["contamination"].values()) <= 0.02
    assert set(results["variants"]) == set(VARIANTS)
    made = {name for name, found in results["variants"].items() if "reason" not in found}
    assert results["package"]["variants"] == sorted(made)
    # On processors with bfloat16 products bitsandbytes' 4-bit kernel wants wider matrices than this model has.
    assert set(VARIANTS) - made <= {"bnb-nf4"}


def test_distillation_recovers_much_of_what_pruning_cost(results: dict):
    models = results["models"]
    assert models["teacher"]["held_out_loss_above_teacher_nats_per_token"] is None
    above = [models[name]["held_out_loss_above_teacher_nats_per_token"] for name in ("pruned", "student")]
    assert above[1] < 0.5 * above[0]
    assert models["student"]["kl_to_teacher_nats_per_token"] < models["pruned"]["kl_to_teacher_nats_per_token"]
    assert models["student"]["parameters"] < models["teacher"]["parameters"]


def test_onnx_fp32_is_the_student_and_int4_is_close(results: dict):
    fp32, int4 = results["variants"]["onnx-fp32"], results["variants"]["onnx-int4"]
    assert fp32["kl_to_fp32"] < 1e-5 and fp32["top1_agreement"] > 0.999
    assert 0 < int4["kl_to_fp32"] < 1.0
    assert int4["size_bytes"] < fp32["size_bytes"]


def test_speed_stands_beside_the_noise_floor_alone_and_in_batches(results: dict):
    made = {name: found for name, found in results["variants"].items() if "reason" not in found}
    assert results["noise_floor"]["variant"] == "torch-fp32"
    wanted = set(made["torch-fp32"]["intervals"]) & {"load_seconds", "inter_token_latency_ms.p95"}
    assert len(wanted) == 2 and wanted <= set(results["noise_floor"]["relative"])
    for name, found in made.items():
        batch = found["by_batch_size"]["4"]
        assert set(batch) in ({"16", "64", "256"}, {"reason"}), name
    assert "reason" not in made["onnx-fp32"]["by_batch_size"]["4"]


def test_every_gate_of_the_recipe_passed(results: dict):
    assert results["gates"] and {gate["verdict"] for gate in results["gates"]} == {"passed"}


def test_the_pruned_undistilled_student_fails_the_gate(results: dict):
    from evaluation.gates import blocks_run, judge
    from stillhouse.recipe import load_recipe

    demo = json.loads((ROOT / "docs/demo/results.json").read_text())
    for recipe, found in (("tiny", results), ("demo", demo)):
        gates = [
            gate for gate in load_recipe(ROOT / "recipes" / f"{recipe}.yaml").gates if "models.student" in gate.figure
        ]
        assert not blocks_run(judge(gates, found))
        undistilled = {**found, "models": {**found["models"], "student": found["models"]["pruned"]}}
        assert blocks_run(judge(gates, undistilled))


def test_the_whole_run_again_is_found_in_the_store(runs: Path, run: Path):
    command = [sys.executable, "-m", "stillhouse.cli", "run", str(RECIPE), "--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert ": done" not in done.stderr
    again = run_of(runs)
    assert again != run
    # Hard links: a second run's package takes no space of its own.
    weights = "package/variants/torch-fp32/model.safetensors"
    assert (again / weights).samefile(run / weights)


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(run: Path, tmp_path: Path):
    """The run of this file was killed while it trained; here is the way to the variants again, in one go."""
    from flows.delivery import make_variants, prepare_data
    from flows.preflight import prepare
    from flows.route import make_start
    from flows.work import Work, directly
    from stillhouse.recipe import load_recipe
    from stillhouse.store.store import Store
    from tasks.distill import distill
    from tasks.fetch import load_teacher

    store = Store(tmp_path / "store")
    settings = prepare(load_recipe(RECIPE), RECIPE.parent, store)
    work = Work(store, directly)
    teacher = work.make(load_teacher, settings.teacher, {})
    read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
    student = work.make(distill, settings.distill, {"start": make_start(settings, work, read), **read})
    made = make_variants(settings, work, student, read["dataset"])
    other = {
        f"variants/{name.removeprefix('variant_')}/{path}": record.sha256
        for name, variant in made.items()
        for path, record in store.manifest(variant).files.items()
        if path != "facts.json"
    }
    files = json.loads((run / "package/manifest.json").read_text())["files"]
    one = {path: record["sha256"] for path, record in files.items() if path.startswith("variants/")}
    assert len(one) > 10 and "variants/onnx-int4/model.onnx" in one
    assert one == other


def test_a_changed_gate_reruns_only_the_verdict_and_blocks(stillhouse, runs: Path, tmp_path: Path):
    recipe = yaml.safe_load(RECIPE.read_text()) | {"name": "strict", "teacher": str(ROOT / "tests/tiny_teacher")}
    recipe["gates"] = [{"figure": "models.student.held_out_loss_above_teacher_nats_per_token", "at_most": 0.0}]
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(recipe))
    done = stillhouse("run", str(tmp_path / "strict.yaml"), "--runs", str(runs))
    assert done.returncode == 3, done.stderr[-3000:]
    made = {line.split(":")[0] for line in done.stderr.splitlines() if ": done" in line}
    assert made == {"assemble_results", "write_report"}
    blocked = run_of(runs, "strict")
    assert "BLOCKED" in done.stdout
    assert (blocked / "report.html").exists() and not (blocked / "package").exists()
    assert json.loads((blocked / "results.json").read_text())["package"] is None


def test_a_gate_on_a_variant_leaves_that_variant_out(stillhouse, runs: Path, tmp_path: Path):
    recipe = yaml.safe_load(RECIPE.read_text()) | {"name": "picky", "teacher": str(ROOT / "tests/tiny_teacher")}
    recipe["gates"] = [{"figure": "variants.onnx-int4.kl_to_fp32", "at_most": 0.0}]
    (tmp_path / "picky.yaml").write_text(yaml.safe_dump(recipe))
    done = stillhouse("run", str(tmp_path / "picky.yaml"), "--runs", str(runs))
    assert done.returncode == 0, done.stderr[-3000:]
    package = json.loads((run_of(runs, "picky") / "results.json").read_text())["package"]
    assert "onnx-fp32" in package["variants"] and "onnx-int4" not in package["variants"]
    assert "onnx-int4" in package["left_out"]
    assert not (run_of(runs, "picky") / "package/variants/onnx-int4").exists()


def copied(package: Path, folder: Path) -> Path:
    shutil.copytree(package, folder / "package")
    for path in (folder / "package").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return folder / "package"


NO_TORCH = (
    "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; from stillhouse.cli import main; main()"
)


def test_a_package_is_verified_elsewhere_without_torch(run: Path, tmp_path: Path):
    package = copied(run / "package", tmp_path)
    command = [sys.executable, "-c", NO_TORCH, "verify", str(package)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((package / "smoke.json").read_text())["prompts"]) == 4
    assert not [path for path in package.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("variants/onnx-fp32/model.onnx", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?")),
        ("variants/onnx-int4/tokenizer.json", lambda path: path.unlink()),
        ("variants/torch-fp32/stray.bin", lambda path: path.write_bytes(b"?")),
        ("README.md", lambda path: path.write_text("better numbers")),
    ],
)
def test_a_tampered_package_is_refused_by_the_files_name(stillhouse, run: Path, tmp_path: Path, file: str, damage):
    package = copied(run / "package", tmp_path)
    damage(package / file)
    done = stillhouse("verify", str(package))
    assert done.returncode == 1
    assert file in done.stdout


def test_a_model_that_answers_otherwise_is_found_by_its_smoke_prompts(stillhouse, run: Path, tmp_path: Path):
    """Checksums alone would pass a package whose manifest was rewritten beside the wrong model."""
    package = copied(run / "package", tmp_path)
    smoke = json.loads((package / "smoke.json").read_text())
    smoke["prompts"][0]["tokens"]["onnx-fp32"][0] += 1
    (package / "smoke.json").write_text(json.dumps(smoke))
    rewrite_manifest(package)
    done = stillhouse("verify", str(package))
    assert done.returncode == 1
    assert "variants/onnx-fp32/model.onnx answers" in done.stdout


def test_a_manifest_that_hides_a_variant_is_found(stillhouse, run: Path, tmp_path: Path):
    package = copied(run / "package", tmp_path)
    content = json.loads((package / "manifest.json").read_text())
    content["facts"]["variants"] = {}
    (package / "manifest.json").write_text(json.dumps(content))
    done = stillhouse("verify", str(package))
    assert done.returncode == 1 and "manifest.json says other facts than facts.json" in done.stdout


def test_an_artifact_that_is_no_package_is_refused_in_words(stillhouse, runs: Path):
    done = stillhouse("verify", str(next(path for path in (runs / "store/distill").iterdir() if path.is_dir())))
    assert done.returncode == 1 and "is that of a distill artifact" in done.stdout


def rewrite_manifest(package: Path) -> None:
    from dataclasses import replace

    from stillhouse.store.artifact import digest_of, hash_files, read_manifest, write_manifest

    files = hash_files(package)
    write_manifest(replace(read_manifest(package), files=files, digest=digest_of(files)), package)


@pytest.mark.parametrize("part", [".", "package"])
def test_a_run_and_a_package_are_explained_back_to_weights_and_data(stillhouse, run: Path, part: str):
    done = stillhouse("explain", str(run / part))
    assert done.returncode == 0, done.stderr
    for words in ("teacher", "boolq-passages", "load_teacher", "distill/", "licence"):
        assert words in done.stdout


def test_every_loader_that_the_manifest_names_opens_its_variant(run: Path):
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from stillhouse.serving.decoder import Decoder

    facts = json.loads((run / "package/manifest.json").read_text())["facts"]
    seen = set()
    for variant in facts["variants"].values():
        folder = run / "package" / variant["folder"]
        ids = AutoTokenizer.from_pretrained(folder)("The river is", return_tensors="pt")
        for loader in variant["loaders"]:
            seen.add(loader)
            match loader:
                case "transformers":
                    assert AutoModelForCausalLM.from_pretrained(folder)(**ids).logits.isfinite().all()
                case "optimum":
                    model = ORTModelForCausalLM.from_pretrained(folder)
                    assert isinstance(model.generate(**ids, max_new_tokens=3), torch.Tensor)
                case "onnxruntime":
                    assert onnxruntime.InferenceSession(folder / "model.onnx").get_inputs()
                case "stillhouse":
                    assert len(Decoder.open(folder, threads=1).generate([5, 6], max_new_tokens=3)) == 3
                case other:
                    pytest.fail(f"nobody tests the loader {other}")
    assert seen == {"transformers", "optimum", "onnxruntime", "stillhouse"}


def test_garbage_collection_keeps_what_runs_need(stillhouse, runs: Path):
    done = stillhouse("gc", "--runs", str(runs), "--dry-run")
    assert done.returncode == 0
    for kind in ("probe_precision", "distill", "build_package"):
        assert f"{kind}/" not in done.stdout


def test_prefect_runs_the_same_orders_of_work(runs: Path, run: Path, tmp_path: Path):
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    from flows.compress import compress
    from flows.evaluate_model import evaluate
    from flows.export_model import export

    asked = {"benchmarks": ("piqa",), "documents": 4, "behaviour": ("none",)}
    with prefect_test_harness(server_startup_timeout=120):
        states = [
            compress(recipe=str(RECIPE), runs=str(runs), return_state=True),
            export(source=str(run), to=str(tmp_path / "package"), runs=str(runs), return_state=True),
            evaluate(str(run), "onnx-int4", **asked, runs=str(runs), return_state=True),
        ]
        assert all(state.is_completed() for state in states), states
        assert [state.result().get("verdict") for state in states] == ["passed", "passed", None]
        with get_client(sync_client=True) as client:
            tasks = client.read_task_runs(limit=200)
            names = {task.name.split(":")[0] for task in tasks}
            flows = {flow_run.name for flow_run in client.read_flow_runs()}
            pages = {artifact.key for artifact in client.read_artifacts()}
    assert {"Distil the student", "Judge the gates", "Build the package", "Take a package's variant"} <= names
    assert flows == {"compress-tiny", f"export-{run.name}", f"evaluate-{run.name}"}
    # A variant that bitsandbytes cannot make of so small a model is an answer, and nothing red.
    assert {task.state_name for task in tasks} <= {"Completed", "Not made"}
    refused = {task.name: task.state.message for task in tasks if task.state_name == "Not made"}
    assert all("bnb-nf4" in name and "bitsandbytes" in reason for name, reason in refused.items()), refused
    assert {"tiny-report", "tiny-gates", "tiny-lineage", "tiny-package", "evaluation-scores"} <= pages
