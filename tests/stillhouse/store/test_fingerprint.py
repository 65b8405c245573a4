"""What counts as a stage's source."""

from pathlib import Path

from stillhouse.store import fingerprint

ROOT = fingerprint.PROJECT_ROOT


def closure(module: str) -> set[str]:
    return set(fingerprint.source_hashes(ROOT / module))


def test_a_loss_belongs_to_distillation_and_not_to_teacher_or_data():
    assert "stillhouse/losses/chunked/loss.py" in closure("stillhouse/training/distill.py")
    for module in ("stillhouse/models/teacher.py", "stillhouse/data/documents.py", "stillhouse/data/encode.py"):
        assert not {path for path in closure(module) if path.startswith(("stillhouse/losses", "stillhouse/training"))}


def test_a_section_of_the_recipe_is_read_beside_nothing_else():
    files = closure("stillhouse/training/distill.py")
    assert "stillhouse/recipe/distillation.py" in files
    assert "stillhouse/recipe/gates.py" not in files
    assert "stillhouse/recipe/__init__.py" not in files


def test_templates_and_task_files_that_a_module_names_are_its_source():
    assert "evaluation/report/report.html.jinja" in closure("evaluation/report/render.py")
    assert "evaluation/benchmarks/arc_easy.yaml" in closure("evaluation/capability.py")


def test_no_stage_depends_on_prefect_or_on_the_order_of_work():
    for module in ("stillhouse/training/distill.py", "evaluation/assemble.py", "export/package.py"):
        assert not {path for path in closure(module) if path.startswith(("flows/", "tasks/"))}


def test_libraries_of_the_closure_are_named_with_versions():
    libraries = fingerprint.library_versions(ROOT / "stillhouse/training/distill.py")
    assert {"python", "torch", "transformers", "numpy"} <= set(libraries)
    assert "prefect" not in libraries and "lm_eval" not in libraries


def test_imports_inside_functions_count(tmp_path: Path):
    module = tmp_path / "stage.py"
    module.write_text("def stage():\n    from stillhouse.losses.forward_kl import forward_kl\n    import numpy\n")
    found = fingerprint.import_closure(module)
    assert ROOT / "stillhouse/losses/forward_kl.py" in found.files
    assert "numpy" in found.packages


def test_an_exported_graph_is_also_of_what_exports_it():
    libraries = fingerprint.library_versions(ROOT / "export/onnx/export.py")
    assert {"torch", "transformers", "onnxscript", "optimum-onnx", "onnx"} <= libraries.keys()
