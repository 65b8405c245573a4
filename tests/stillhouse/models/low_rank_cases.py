"""What layers of low rank are tried on: the tiny teacher, and random text."""

from pathlib import Path

import numpy as np

from stillhouse.data.dataset import Split
from stillhouse.recipe.compute import Compute

TEACHER = Path(__file__).parents[2] / "tiny_teacher"
COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def split(documents: int, seed: int) -> Split:
    """Documents of 30 random tokens; two to a row of 64, with padding."""
    ids = np.random.default_rng(seed).integers(3, 1000, size=documents * 30).astype(np.int32)
    starts = np.arange(documents + 1) * 30
    counted = np.ones(len(ids), dtype=bool)
    counted[starts[:-1]] = False
    return Split(ids, counted, starts, np.full(documents, 60), tuple(f"a/{number}" for number in range(documents)))
