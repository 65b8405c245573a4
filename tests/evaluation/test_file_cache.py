"""Files taken out of the system's cache."""

import os
import sys
from pathlib import Path

import pytest

from evaluation.file_cache import cached_bytes, drop_from_cache

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no posix_fadvise")


def test_a_folder_that_was_read_is_cached_and_then_is_not(tmp_path: Path):
    path = tmp_path / "inner" / "weights"
    path.parent.mkdir()
    path.write_bytes(os.urandom(3_000_001))
    (tmp_path / "empty").touch()
    path.read_bytes()
    assert cached_bytes(path) == 3_000_001
    # Some file systems live in memory, and have no other place for a file.
    assert drop_from_cache(tmp_path) in (0.0, 1.0)
    assert path.stat().st_size == 3_000_001


def test_a_folder_without_bytes_holds_nothing(tmp_path: Path):
    assert drop_from_cache(tmp_path) == 0.0
