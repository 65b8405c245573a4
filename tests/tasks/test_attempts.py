"""A stage that cannot be made here is an answer, in whichever form Prefect gives it back."""

from types import SimpleNamespace

import pytest
from prefect.states import Completed

from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from tasks.attempts import taken

REFUSAL = Unavailable("this processor has none")
MADE = Reference("quantize_bnb", "1" * 64)


# The engine's record, of which only this matters: tests/flows/test_compress.py sees the real one.
@pytest.mark.parametrize("data", [REFUSAL, SimpleNamespace(result=REFUSAL)])
def test_a_refusal_is_raised(data: object):
    with pytest.raises(Unavailable, match="this processor has none"):
        taken(Completed(name="Not made", data=data))


def test_what_was_made_is_given():
    assert taken(MADE) == MADE
