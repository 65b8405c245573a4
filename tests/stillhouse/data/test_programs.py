"""Little programs as a model may write them, really run."""

import platform
import textwrap

import pytest

from stillhouse.data.programs import passes, program_in

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the sandbox is of Linux on x86-64"
)

TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
RIGHT = "def add(a, b):\n    return a + b"


def fenced(program, *, before="Here it is:\n", after="\nIt adds."):
    return f"{before}```python\n{program}\n```{after}"


def indented(program, columns):
    return textwrap.indent(program, " " * columns)


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (fenced(RIGHT), f"{RIGHT}\n"),
        (fenced(RIGHT, after="\n```\nadd(1, 2)\n```"), f"{RIGHT}\n"),
        (f"```\n{RIGHT}", RIGHT),
        # No more than its fence is indented by, whatever stands in it.
        (f"1. First:\n\n   ```py\n{RIGHT}\n   ```\n", "def add(a, b):\n return a + b\n"),
        # As in a list, where all of the block is indented; and a list in a list.
        (f"1. First:\n\n   ```py\n{indented(RIGHT, 3)}\n   ```\n", f"{RIGHT}\n"),
        (f"- a\n  - b\n\n    ```py\n{indented(RIGHT, 4)}\n    ```\nAnd so on.", f"{RIGHT}\n"),
        (RIGHT, RIGHT),
        ("`add` adds, as in ```inline``` code", "`add` adds, as in ```inline``` code"),
    ],
)
def test_the_first_fenced_block_is_the_program_or_all_of_it_where_there_is_none(response, program):
    assert program_in(response) == program


@pytest.mark.parametrize(
    "response",
    [
        RIGHT,
        fenced(RIGHT),
        f"print('x' * 100_000)\n{RIGHT}",
        # Which looks up its own module by its name.
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        f"@dataclass\nclass Pair:\n    one: int\n    other: int\n\n\n{RIGHT.replace('a + b', 'Pair(a + b, b).one')}",
    ],
)
def test_a_right_program_passes(response):
    assert passes(response, TESTS)


@pytest.mark.parametrize(
    "response",
    [
        RIGHT.replace("+", "-"),
        fenced("def plus(a, b):\n    return a + b"),
        "To add, use the plus sign.",
        f"Here: {fenced('', before='')}",
        f"{RIGHT}\n'''",
        f"{RIGHT}\nif False:",
        # What would end another process, and what no compiler takes.
        f"{RIGHT}\nimport os\nos.abort()",
        f"{RIGHT}\nimport os\nos._exit(0)",
        f"{RIGHT}\nraise SystemExit",
        f"{RIGHT}\n\0",
        f"{RIGHT}\n# \ud800",
        f"{RIGHT}\nx = {'(' * 5000}",
    ],
)
def test_a_wrong_program_or_none_fails_and_ends_nothing_but_itself(response):
    assert not passes(response, TESTS)


def test_an_endless_program_fails():
    assert not passes(f"{RIGHT}\nwhile True: pass", TESTS)


def test_a_program_that_opens_a_socket_or_writes_a_file_fails(tmp_path):
    assert not passes(f"{RIGHT}\nimport socket\nsocket.socket()", TESTS)
    there = tmp_path / "written"
    assert not passes(f"{RIGHT}\nopen({str(there)!r}, 'w').write('x')", TESTS)
    assert not there.exists()
