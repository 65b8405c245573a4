"""Responses that hold a program, run against the tests of their prompt."""

import re

from stillhouse.sandbox.run import run_program

_FENCED = re.compile(r"^ {0,3}```[^\n]*\n(.*?)(?:^ {0,3}```|\Z)", re.MULTILINE | re.DOTALL)
"""Of a block that is cut off, what there is of it."""


def program_in(response: str) -> str:
    """The first fenced code block of a response, or all of it where there is none."""
    found = _FENCED.search(response)
    return response if found is None else found[1]


def passes(response: str, tests: str) -> bool:
    """Whether the program in a response, and the tests after it, run to their end without an error.

    They run as one program in `stillhouse.sandbox`, within its usual limits: whatever a response says or does ends its
    own process alone.

    Raises:
        RuntimeError: If the kernel does not grant the sandbox; nothing was run.
    """
    return run_program(f"{program_in(response)}\n\n{tests}\n").passed
