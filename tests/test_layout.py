"""The house keeps its rooms: who imports whom, what a package's `__init__` may hold, and whose names win."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = ("stillhouse", "evaluation", "export")
ABOVE = {
    "stillhouse": {"evaluation", "export", "tasks", "flows", "prefect"},
    "evaluation": {"export", "tasks", "flows", "prefect"},
    "export": {"tasks", "flows", "prefect"},
    "tasks": {"flows"},
    "flows": set(),
}
DOOR = ROOT / "stillhouse" / "cli.py"

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
sys.exit("prefect" in sys.modules)
"""


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_library_loads_without_prefect(package: str):
    assert subprocess.run([sys.executable, "-c", IMPORT_ALL, package], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("package", ABOVE)
def test_imports_run_downwards_only(package: str):
    for path in modules(package):
        if path != DOOR:
            tops = {name.split(".")[0] for name in imported(path)}
            assert not tops & ABOVE[package], path


def test_nothing_imports_the_door():
    for package in ABOVE:
        for path in modules(package):
            assert "stillhouse.cli" not in imported(path), path


@pytest.mark.parametrize("package", ABOVE)
def test_an_init_re_exports_and_does_nothing_else(package: str):
    """Otherwise importing `a.b` would run code of `a/__init__.py` that no stage's key knows of."""
    for path in (ROOT / package).rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node in body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            assert docstring or names or isinstance(node, ast.ImportFrom), (path, ast.unparse(node))


@pytest.mark.parametrize("package", ABOVE)
def test_a_package_is_ours(package: str):
    """Another distribution's `tasks` must not come before this checkout's."""
    assert Path(importlib.import_module(package).__file__ or "").parent == ROOT / package


@pytest.mark.parametrize("package", ["flows", "tasks"])
def test_no_flow_or_task_shadows_a_module(package: str):
    """Prefect's script loader puts a file's folder first on the path and registers the file by its bare name."""
    for path in (ROOT / package).glob("[!_]*.py"):
        assert importlib.util.find_spec(path.stem) is None, f"{path} hides the module {path.stem}"


@pytest.mark.parametrize("package", ABOVE)
def test_files_and_functions_can_be_read_at_a_glance(package: str):
    for path in modules(package):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


def test_the_server_side_of_a_package_needs_no_torch():
    """What `verify` imports is what the base install holds."""
    check = (
        "import sys, export.verify, stillhouse.cli; "
        "sys.exit(bool({'torch', 'transformers', 'pydantic', 'yaml', 'prefect', 'optimum'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT).returncode == 0
