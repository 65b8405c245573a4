"""Memory that is freed and needed again at once: kept, rather than handed back to the system in between.

The tensors of a training step are as large at the next one. The C library maps each of them anew all the same, and
the system clears every page again: 140,000 page faults a step, a fifth of a step's time on two cores
(docs/distillation.md).
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of glibc's malloc.h. 32 MiB is the largest threshold it takes, and what it comes to by itself after a while.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_WHILE_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_AFTERWARDS = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 2**27, _MMAP_THRESHOLD: 2**25}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed until the block ends; where the C library is not glibc, nothing is done.

    Not for a block that frees much and then does not need it: no other process has that memory meanwhile. Threads that
    were there before have pools of their own, to which this does not apply.
    """
    library = _glibc()
    if library is None:
        yield
        return
    _tell(library.mallopt, _WHILE_KEPT)
    try:
        yield
    finally:
        _tell(library.mallopt, _AFTERWARDS)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _tell(mallopt: Callable[[int, int], int], settings: dict[int, int]) -> None:
    for name, value in settings.items():
        mallopt(name, value)
