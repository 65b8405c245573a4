"""Libraries that talk while they work, kept from the reader."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Drop Python warnings, and what the named loggers say below an error, inside the block.

    The root logger comes out as it went in: some libraries configure it when they are imported.
    """
    named = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in named]
    root = logging.getLogger()
    handlers, root_level = list(root.handlers), root.level
    # `logging.basicConfig` does nothing where a handler is.
    root.addHandler(guard := logging.NullHandler())
    try:
        for logger in named:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(named, levels, strict=True):
            logger.setLevel(level)
        root.removeHandler(guard)
        root.handlers[:] = handlers
        root.setLevel(root_level)
