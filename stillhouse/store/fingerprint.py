"""What decides a stage's bytes besides its settings and inputs: its source and its libraries.

A stage's source is its import closure within the project, read from the syntax tree, imports inside functions
included; and the files and folders beside a module that the module names in a string (templates, task files).
Importing `a.b.c` does not pull in what `a/__init__.py` re-exports: the project's `__init__` files re-export and
do nothing else, which a test of the layout proves.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

from stillhouse.store.artifact import hash_file

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_DECIDE_THROUGH = {
    "transformers": ("tokenizers", "safetensors"),
    # It exports a model of transformers with torch's exporter.
    "optimum-onnx": ("torch", "transformers", "tokenizers", "safetensors", "onnxscript"),
}
"""Libraries that decide bytes though no module here may import them by name."""
PROJECT_PACKAGES = ("stillhouse", "evaluation", "export", "tasks", "flows")


@dataclass(frozen=True)
class Closure:
    """The project files and the foreign packages that a module needs."""

    files: tuple[Path, ...]
    packages: tuple[str, ...]


def source_hashes(module_file: Path) -> dict[str, str]:
    """SHA-256 of every file in the import closure of a module, by its path within the project."""
    return {_name(path): _hash_once(path) for path in import_closure(module_file).files}


def library_versions(module_file: Path) -> dict[str, str]:
    """Versions of Python and of every distribution that the module's closure imports."""
    owners = _distributions()
    names = {owner for package in import_closure(module_file).packages for owner in owners.get(package, ())}
    names |= {hidden for name in names for hidden in _DECIDE_THROUGH.get(name, ())}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python} | {name: version(name) for name in sorted(names)}


@cache
def import_closure(module_file: Path) -> Closure:
    """Walk the imports of a module, and of the project's modules that it reaches."""
    files: set[Path] = set()
    packages: set[str] = set()
    waiting = [module_file.resolve()]
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files.add(file)
        if file.suffix == ".py":
            tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
            waiting.extend(_files_named_beside(tree, file.parent))
            for name in _imported_names(tree):
                found = _project_file(name)
                if found is not None:
                    waiting.append(found)
                elif _is_foreign(name):
                    packages.add(name.split(".")[0])
    return Closure(tuple(sorted(files)), tuple(sorted(packages)))


def _imported_names(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that may be a module: `from a import b` gives `a` only where `a.b` is no module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if _project_file(inner) else node.module


def _project_file(name: str) -> Path | None:
    if name.split(".")[0] not in PROJECT_PACKAGES:
        return None
    base = PROJECT_ROOT.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _is_foreign(name: str) -> bool:
    top = name.split(".")[0]
    return top not in PROJECT_PACKAGES and top not in sys.stdlib_module_names


def _files_named_beside(tree: ast.AST, folder: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _may_be_a_name(node.value):
            path = folder / node.value
            if path.is_file() and path.suffix != ".py":
                yield path
            elif path.is_dir() and not (path / "__init__.py").exists():
                yield from (inner for inner in path.rglob("*") if inner.is_file() and inner.suffix != ".pyc")


def _may_be_a_name(text: str) -> bool:
    return 0 < len(text) < 100 and text.isprintable() and " " not in text and text.strip("./") == text


def _name(path: Path) -> str:
    inside = path.is_relative_to(PROJECT_ROOT)
    return path.relative_to(PROJECT_ROOT).as_posix() if inside else path.name


@cache
def _hash_once(path: Path) -> str:
    return hash_file(path)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
