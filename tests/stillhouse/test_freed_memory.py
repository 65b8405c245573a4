"""Freed memory is kept within the block, and given back after it; each in a process that has freed nothing before."""

import subprocess
import sys

import pytest

from stillhouse.freed_memory import _glibc

pytestmark = pytest.mark.skipif(_glibc() is None, reason="the C library is not glibc")
COMMON = """
import resource
from pathlib import Path
import numpy as np
from stillhouse.freed_memory import freed_memory_kept

NUMBERS = 2**24
PAGE = resource.getpagesize()
# Huge pages, where numpy gets them, are 512 of the small ones.
ALL = NUMBERS * 8 // (512 * PAGE)

def faults_of_filling():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(NUMBERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
"""


def alone(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", COMMON + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_was_freed_is_used_again_without_a_page_fault():
    alone("""
with freed_memory_kept():
    faults_of_filling()
    again = faults_of_filling()
assert again < 100, again
assert faults_of_filling() >= ALL
""")


def test_after_the_block_it_is_the_systems_again():
    alone("""
before = resident_bytes()
with freed_memory_kept():
    faults_of_filling()
    within = resident_bytes()
assert within - before > NUMBERS * 8 * 0.9, (before, within)
assert resident_bytes() - before < NUMBERS * 8 * 0.1, (before, resident_bytes())
""")


def test_an_error_ends_it_too():
    alone("""
try:
    with freed_memory_kept():
        raise ValueError("broken")
except ValueError:
    pass
faults_of_filling()
assert faults_of_filling() >= ALL
""")
