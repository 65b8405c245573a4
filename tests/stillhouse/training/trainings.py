"""Short trainings of a random model of two layers on random documents, and what they leave."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file

from stillhouse.data.dataset import Split, write_split
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.distillation import Distillation
from stillhouse.training.distill import DistillSettings, distill

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=3)
SHORT = {"batch_rows": 2, "steps": 6, "warmup_steps": 1, "validate_every": 3, "checkpoint_every": 2}
FOLLOWING = {"shape": "agreement", "enough": 0.2, "smoothing_steps": 2}
"""Two random models agree at one token in 300, by chance."""


def settings(*, training=None, knowledge=None, sequence_length: int = 32, **changes) -> DistillSettings:
    """Six steps, unless something else is asked."""
    asked = {"knowledge": knowledge, "training": training}
    return DistillSettings(
        distillation=Distillation(**{**SHORT, "learning_rate": 1e-2, **changes}),
        sequence_length=sequence_length,
        compute=COMPUTE,
        **{name: section for name, section in asked.items() if section is not None},
    )


def write_random_dataset(folder: Path) -> Path:
    """Documents of 5 to 29 tokens, whose first token alone is not counted."""
    generator = np.random.default_rng(0)
    for name, documents in (("train", 24), ("validation", 4), ("held_out", 4)):
        lengths = generator.integers(5, 30, size=documents)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        counted = np.ones(starts[-1], dtype=bool)
        counted[starts[:-1]] = False
        ids = generator.integers(5, 100, size=starts[-1]).astype(np.int32)
        names = tuple(f"toy/{number}" for number in range(documents))
        write_split(folder, name, Split(ids, counted, starts, lengths.astype(np.int64), names))
    return folder


def run(inputs: dict[str, Path], folder: Path, **changes) -> Path:
    """Train into a folder."""
    folder.mkdir(exist_ok=True)
    distill(settings(**changes), inputs, folder)
    return folder


def left(folder: Path) -> SimpleNamespace:
    """The history and weights that a training left."""
    history = json.loads((folder / "history.json").read_text())
    losses = [entry["loss"] for entry in history["training"]]
    return SimpleNamespace(history=history, losses=losses, weights=load_file(folder / "model.safetensors"))


def assert_alike(one: Path, other: Path, *, atol: float = 1e-4) -> None:
    """Two trainings took the same steps, up to the order of their sums; Adam divides by a gradient's own size."""
    a, b = left(one), left(other)
    np.testing.assert_allclose(b.losses, a.losses, rtol=2e-6)
    for name, tensor in a.weights.items():
        torch.testing.assert_close(b.weights[name], tensor, atol=atol, rtol=1e-3)
