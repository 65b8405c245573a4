"""Which keys an edit changes, on a copy of the project: the whole run is planned, nothing is made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAN = """
from pathlib import Path
from flows.compress import in_order
from flows.preflight import prepare
from flows.work import Planner, Work, directly
from stillhouse.recipe import load_recipe
from stillhouse.store.store import Store

path = Path("recipes/tiny.yaml").resolve()
settings = prepare(load_recipe(path), path.parent, Store(Path("store").resolve()))
for reference in in_order(settings, Work(Planner(Path("store")), directly)).artifacts:
    print(reference.kind, reference.key)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("stillhouse", "flows", "tasks", "evaluation", "export", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/tiny_teacher", folder / "tests/tiny_teacher")
    shutil.copy(ROOT / "README.md", folder)
    # A checkout, so that a commit, or the word `-dirty`, would show if it were in a key.
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -qm all"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    return folder


def plan(project: Path) -> list[tuple[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", PLAN], cwd=project, env=environment, check=True, capture_output=True, text=True
    )
    return [tuple(line.split()) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def before(project: Path) -> list[tuple[str, str]]:
    return plan(project)


def changed(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> set[str]:
    assert [kind for kind, _ in before] == [kind for kind, _ in after]
    return {one[0] for one, other in zip(before, after, strict=True) if one != other}


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line)


def test_an_edited_readme_reruns_nothing(project: Path, before):
    append(project / "README.md", "\nMore words.\n")
    assert changed(before, plan(project)) == set()


def test_an_edited_loss_reruns_distillation_and_what_follows_but_not_teacher_and_data(project: Path, before):
    append(project / "stillhouse/losses/chunked/loss.py", "\n# a thought\n")
    reran = changed(before, plan(project))
    assert {"distill", "export_onnx", "assemble_results", "build_package"} <= reran
    assert not {"load_teacher", "gather_documents", "answer_prompts", "encode_documents", "prune_layers"} & reran


def test_an_edited_template_reruns_the_report_and_the_package(project: Path):
    first = plan(project)
    append(project / "evaluation/report/report.html.jinja", "\n")
    assert changed(first, plan(project)) == {"write_report", "build_package"}


def test_a_changed_benchmark_setting_reruns_only_the_timing_and_what_reads_it(project: Path):
    first = plan(project)
    recipe = project / "recipes/tiny.yaml"
    recipe.write_text(recipe.read_text().replace("prompt_tokens: [16, 64, 256]", "prompt_tokens: [16, 64]"))
    reran = changed(first, plan(project))
    timed = {"measure_efficiency", "measure_noise_floor"}
    assert reran == timed | {"assemble_results", "write_report", "build_package"}
