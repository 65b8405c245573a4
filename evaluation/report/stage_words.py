"""What the stages are called in words, and which model or variant each one is about."""

from collections.abc import Mapping
from typing import Any

from stillhouse.store.artifact import Manifest

STAGES = {
    "probe_precision": "Time both precisions",
    "probe_compiler": "Try the compiler",
    "load_teacher": "Fetch the teacher",
    "load_student": "Fetch a model",
    "adopt_variant": "Take a package's variant",
    "gather_documents": "Gather documents",
    "measure_contamination": "Look for benchmarks in the data",
    "select_documents": "Select documents",
    "choose_prompts": "Choose a teacher's prompts",
    "answer_prompts": "Let the teacher answer prompts",
    "sample_responses": "Let the teacher answer prompts several times",
    "choose_responses": "Choose among responses",
    "write_rationales": "Write and check rationales",
    "encode_documents": "Turn documents into tokens",
    "choose_round": "Choose a round's data",
    "measure_difficulty": "Read how hard the texts are",
    "train_tokenizer": "Train the student's tokenizer",
    "encode_for_teacher": "Turn the texts into the teacher's tokens",
    "list_samples": "Find the texts to ask about",
    "capture_shard": "Store the teacher's answers",
    "assemble_cache": "Gather the teacher's answers",
    "prune_layers": "Cut the student from the teacher",
    "refit_layers": "Fit the cut student to the teacher",
    "prune_widths": "Narrow the teacher to the student",
    "prune_layers_and_widths": "Cut and narrow the teacher",
    "make_fresh_student": "Make a student with random weights",
    "low_rank": "Cut the teacher's layers to a low rank",
    "distill": "Distil the student",
    "evaluate_capability": "Score benchmarks",
    "evaluate_behaviour": "Measure behaviour",
    "measure_held_out": "Measure on held-out text",
    "copy_student": "Keep the student as it is",
    "export_onnx": "Export to ONNX",
    "quantize_bnb": "Quantize with bitsandbytes",
    "quantize_int8": "Quantize ONNX to 8 bits",
    "quantize_int4": "Quantize ONNX to 4 bits",
    "measure_parity": "Compare with torch-fp32",
    "measure_efficiency": "Time and weigh, alone",
    "measure_noise_floor": "Time and weigh once more",
    "assemble_results": "Judge the gates",
    "write_report": "Write the report",
    "build_package": "Build the package",
    "compare_runs": "Compare the runs",
}
"""By the name of the stage. Its task in `tasks/` has the same words."""
_MADE = {
    "load_teacher": "teacher",
    "prune_layers": "pruned",
    "refit_layers": "pruned",
    "prune_widths": "pruned",
    "prune_layers_and_widths": "pruned",
    "make_fresh_student": "pruned",
    "low_rank": "pruned",
    "distill": "student",
    "copy_student": "torch-fp32",
    "export_onnx": "onnx-fp32",
    "quantize_int8": "onnx-int8",
    "quantize_int4": "onnx-int4",
}
"""The model or variant that a stage makes, where its name alone tells."""


def made(kind: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The model or variant that a stage makes; empty for a stage that makes something else."""
    if kind == "quantize_bnb":
        return str(settings["kind"])
    if kind in ("load_student", "adopt_variant"):
        return str(facts.get("source", ""))
    return _MADE.get(kind, "")


def about(manifest: Manifest, others: Mapping[str, Manifest]) -> str:
    """The model or variant that an artifact is, or is a measurement of; empty for all else.

    Args:
        manifest: Of the artifact.
        others: Of the artifacts it was made from, by key.
    """
    measured = manifest.inputs.get("variant") or manifest.inputs.get("model")
    subject = others.get(measured, manifest) if measured else manifest
    return made(subject.kind, subject.settings, subject.facts)
