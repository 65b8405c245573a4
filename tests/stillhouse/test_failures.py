"""What a person is told to do where a machine had no room for the work."""

import pytest

from stillhouse.child import ChildError, ChildKilled
from stillhouse.failures import advice


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


class SafetensorError(Exception):
    """As the library raises it."""


KILLED = "the process of export:work was killed by signal 9 (9 is most often the system out of memory)"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left", "big"), "The disk is full (big). Free some space (`stillhouse gc` helps) and"),
        (OSError(122, "Quota exceeded"), "The disk is full (while a stage wrote). Free some space"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "The disk is full (I/O error: No space"),
        (MemoryError(), "Out of memory. Lower distillation.batch_rows or take a smaller student, and start again"),
        (MemoryError("unable to allocate 3 GiB"), "Out of memory: unable to allocate 3 GiB. Lower distillation."),
        (
            MemoryError("memory ran out on cpu: lower distillation.batch_rows from 2 to 1"),
            "Out of memory: memory ran out on cpu: lower distillation.batch_rows from 2 to 1. What is finished is",
        ),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMuch more"),
            "CUDA out of memory. Tried to allocate 2 GiB. Lower distillation.batch_rows",
        ),
        (ChildKilled(f"{KILLED}; it last said: a lot\nof lines"), f"{KILLED}. Free some memory, or lower distillation"),
    ],
)
def test_a_machine_without_room_is_told_in_one_line(error: Exception, says: str):
    said = advice(error)
    assert said is not None and said.startswith(says)
    assert "\n" not in said and said.endswith("hat is finished is kept.")


@pytest.mark.parametrize("error", [RuntimeError("who knows"), FileNotFoundError(2, "none", "x"), ChildError("broke")])
def test_of_anything_else_nothing_is_known(error: Exception):
    assert advice(error) is None
