"""The system's cache of files, and how to take a folder out of it, so that a cold start can be timed.

`posix_fadvise(DONTNEED)` (POSIX.1-2001; Linux keeps no promise but does it for clean pages that nobody has mapped)
drops the pages of these files from the memory of this system. It does not drop the files' directory entries, other
files such as Python and the libraries, or what the disk, a hypervisor or a storage server holds in caches of its own:
a cold start is then one whose model comes from below this system, not always one from a platter.
"""

import ctypes
import mmap
import os
from pathlib import Path

DROPPED = 0.01
"""A folder of which at most this share is still cached counts as dropped."""


def drop_from_cache(folder: Path) -> float:
    """Take a folder's files out of the file cache; return the share of their bytes that is cached nevertheless."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # What is not on the disk yet cannot be dropped.
            os.fsync(descriptor)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    whole = sum(path.stat().st_size for path in paths)
    return sum(cached_bytes(path) for path in paths) / whole if whole else 0.0


def cached_bytes(path: Path) -> int:
    """Return how many bytes of a file the system holds in memory, by `mincore`; all of them where it does not tell."""
    size = path.stat().st_size
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mincore"):
        return size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        pages = -(-size // mmap.PAGESIZE)
        resident = (ctypes.c_ubyte * pages)()
        # A private mapping that nobody touches reads nothing; ctypes wants one that could be written.
        start = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), resident)
        # The mapping cannot be closed while something points into it.
        del start
        if failed:
            return size
        return min(size, mmap.PAGESIZE * sum(page & 1 for page in resident))
