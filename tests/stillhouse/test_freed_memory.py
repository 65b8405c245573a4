"""Freed memory is kept within the block, and given back after it."""

import resource
from pathlib import Path

import numpy as np
import pytest

from stillhouse.freed_memory import _glibc, freed_memory_kept

pytestmark = pytest.mark.skipif(_glibc() is None, reason="the C library is not glibc")
_NUMBERS = 2**24


def faults_of_filling() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(_NUMBERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_was_freed_is_used_again_without_a_page_fault():
    with freed_memory_kept():
        faults_of_filling()
        again = faults_of_filling()
    assert again < 100
    # Huge pages, where numpy gets them, are 512 of the small ones.
    assert faults_of_filling() >= _NUMBERS * 8 // (512 * resource.getpagesize())


def test_after_the_block_it_is_the_systems_again():
    before = resident_bytes()
    with freed_memory_kept():
        faults_of_filling()
        within = resident_bytes()
    assert within - before > _NUMBERS * 8 * 0.9
    assert resident_bytes() - before < _NUMBERS * 8 * 0.1


def test_an_error_ends_it_too():
    with pytest.raises(ValueError, match="broken"), freed_memory_kept():
        raise ValueError("broken")
    faults_of_filling()
    assert faults_of_filling() >= _NUMBERS * 8 // (512 * resource.getpagesize())
