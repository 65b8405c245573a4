"""Responses that hold a program, run against the tests of their prompt."""

import re

from stillhouse.sandbox.run import run_program

_FENCED = re.compile(r"^([ \t]*)```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
"""Its indentation, and what is in it; of a block that is cut off, what there is of it."""


def program_in(response: str) -> str:
    """The first fenced code block of a response, or all of it where there is none.

    A block that is indented, as in a list, is moved left by as much as its fence is (CommonMark 4.5).
    """
    found = _FENCED.search(response)
    if found is None:
        return response
    indented = re.compile(rf"^[ \t]{{0,{len(found[1])}}}", re.MULTILINE)
    return indented.sub("", found[2])


def passes(response: str, tests: str) -> bool:
    """Whether the program in a response, and the tests after it, run to their end without an error.

    They run as one program in `stillhouse.sandbox`, within its usual limits: whatever a response says or does ends its
    own process alone.

    Raises:
        RuntimeError: If the kernel does not grant the sandbox; nothing was run.
    """
    return run_program(f"{program_in(response)}\n\n{tests}\n").passed
