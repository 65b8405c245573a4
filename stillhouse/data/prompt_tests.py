"""The tests of a prompt, as a user writes them: Python that is run after the program in a response."""

import ast
import sys
import warnings
from collections.abc import Iterator

from stillhouse.errors import InputError

_AS_IN = 'it is run after the program that a response holds, as in "assert add(1, 2) == 3"'
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DOES = (ast.Call, ast.Assert, ast.Raise)


def check_tests(tests: str, where: str) -> None:
    """Refuse tests that every response would pass, or none.

    Raises:
        InputError: If they are no Python, run nothing by themselves, or import what is not Python's own library.
    """
    try:
        with warnings.catch_warnings():
            # An escape that Python does not know is the author's matter.
            warnings.simplefilter("ignore")
            tree = ast.parse(tests)
            # As it is run: after a program, where some of what parses is out of place.
            compile(f"pass\n{tests}", "tests", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where} is no Python ({error}): {tests.strip()[:60]!r}; {_AS_IN}") from None
    if not tree.body:
        raise InputError(f"{where} runs nothing, so that every response would pass; leave the key out")
    if foreign := sorted(_imported(tree) - sys.stdlib_module_names):
        raise InputError(
            f"{where} imports {foreign[0]}, and programs are run with Python's own library alone, so that no response "
            "would pass; write it without, or leave the prompt out"
        )
    if not any(isinstance(node, _DOES) for node in _run_at_once(tree)):
        raise InputError(
            f"{where} only defines {', '.join(_defined(tree)) or 'something'} and runs nothing of it, so that every "
            f"response would pass: {tests.strip()[:60]!r}; call it at the end. {_AS_IN[0].upper()}{_AS_IN[1:]}"
        )


def _run_at_once(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the text does: not the bodies of functions, nor what waits for the name of a script."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _DEFINITIONS) or _waits_for_a_script(node):
            continue
        yield node
        yield from _run_at_once(node)


def _waits_for_a_script(node: ast.AST) -> bool:
    """`if __name__ == "__main__":`, whose name the program has not."""
    return isinstance(node, ast.If) and any(
        isinstance(each, ast.Name) and each.id == "__name__" for each in ast.walk(node.test)
    )


def _defined(tree: ast.Module) -> list[str]:
    return [each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


def _imported(tree: ast.Module) -> set[str]:
    """Names of the packages that are imported, wherever that stands."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {each.name.partition(".")[0] for each in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
    return found
