"""How a run that stopped says so, in a line that a person may see alone."""

import pytest

from flows.attended import Told, first_line
from stillhouse.child import ChildError
from stillhouse.errors import InputError
from stillhouse.training.step import TrainingDiverged

KEPT = "Mend this and retry: what is finished is kept."


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("this cannot be; do something else"), "this cannot be; do something else"),
        (Told("2 of 3 runs failed"), "2 of 3 runs failed"),
        (RuntimeError("a gate failed"), f"RuntimeError: a gate failed. {KEPT}"),
        (RuntimeError("two\nlines"), f"RuntimeError: two. {KEPT}"),
        (KeyError(), f"KeyError: KeyError. {KEPT}"),
        (
            TrainingDiverged("the loss is not a number at step 3"),
            f"TrainingDiverged: the loss is not a number at step 3. {KEPT}",
        ),
        (
            ChildError("export:work failed in its own process: it broke\nTraceback\nmore"),
            f"export:work failed in its own process: it broke. {KEPT}",
        ),
        (
            ChildError("the process of export:work exited 1; it last said: a lot\nof lines"),
            f"the process of export:work exited 1. {KEPT}",
        ),
    ],
)
def test_a_failure_says_in_one_line_what_to_do(error: Exception, line: str):
    assert first_line(error) == line
