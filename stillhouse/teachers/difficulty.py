"""Stage: how hard each training text is for a model: its mean loss over the text's targets, and its mean entropy.

A text's figures depend on its own tokens alone, so texts are packed for speed, in rows and batches that are fixed: a
reading that was killed goes on at the part that it had not finished, and the same processor writes the same bytes.
"""

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import PositiveInt

from stillhouse import progress
from stillhouse.data.dataset import Split, read_split, set_of
from stillhouse.data.packing import pack
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.losses.reduction import IGNORED
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.teachers.local import LocalTeacher, open_local
from stillhouse.teachers.targets import Dense, Factored
from stillhouse.training.batches import make_batch

MEASURES = ("loss", "entropy")
"""Columns of what is kept, nats a target."""
_BATCHES_A_PART = 16
"""How much a kill may cost."""
_POSITIONS = 128
"""Whose logits are made at a time: the whole head is read for each of these products."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Figures = npt.NDArray[np.float64]
"""[D, 2] a text's `MEASURES`."""


class DifficultySettings(Settings):
    """How the model reads."""

    sequence_length: PositiveInt
    """Tokens in a packed row, or those of the longest text."""
    batch_rows: PositiveInt
    """Rows in a forward pass; in the key, since it changes low bits."""
    compute: Compute
    """Where the model runs, in which precision; its seed decides nothing here."""


def measure_difficulty(settings: DifficultySettings, inputs: Inputs, folder: Path) -> None:
    """Write `difficulty.npy`, a row for each text of the training split, and quantiles in `facts.json`.

    Args:
        settings: How the model reads.
        inputs: `model`, a model folder, and `dataset`.
        folder: Gets the figures; may hold what a killed reading finished.

    Raises:
        InputError: If the model cannot be opened.
    """
    torch.set_num_threads(settings.compute.threads)
    split = read_split(inputs["dataset"], "train")
    # A teacher with other tokens has more of them in some pieces than a row of the student's holds.
    longest = int(np.diff(split.starts).max(initial=0))
    settings = settings.model_copy(update={"sequence_length": max(settings.sequence_length, longest)})
    rows = pack(split.starts, settings.sequence_length)
    size = settings.batch_rows * _BATCHES_A_PART
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"part-{number:06d}.npy" for number in range(len(parts))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        model = open_local(inputs["model"], settings.compute)
        with freed_memory_kept():
            for number in missing:
                _keep(files[number], _read(settings, model, split, parts[number], (number, len(parts))))
    figures = np.zeros((split.num_documents, len(MEASURES)))
    for part, file in zip(parts, files, strict=True):
        figures[_documents(part)] = np.load(file)
    np.save(folder / "difficulty.npy", figures)
    (folder / FACTS).write_text(json.dumps(_facts(split, figures), indent=1), encoding="utf-8")


def read_difficulty(folder: Path, measure: str) -> npt.NDArray[np.float64]:
    """[D] one measure of every training text, as `measure_difficulty` wrote it."""
    figures: Figures = np.load(folder / "difficulty.npy")
    return figures[:, MEASURES.index(measure)]


def _documents(rows: Sequence[Sequence[int]]) -> list[int]:
    return [document for row in rows for document in row]


def _read(
    settings: DifficultySettings, model: LocalTeacher, split: Split, rows: list[list[int]], place: tuple[int, int]
) -> Figures:
    """The figures of the texts in these rows, in their order."""
    sums = np.zeros((split.num_documents, len(MEASURES)))
    counts = np.zeros(split.num_documents)
    started, done = time.monotonic(), 0
    for start in range(0, len(rows), settings.batch_rows):
        few = rows[start : start + settings.batch_rows]
        found, owners = _batch(settings, model, split, few)
        np.add.at(sums, owners, found)
        np.add.at(counts, owners, 1)
        done += sum(int(split.starts[each + 1] - split.starts[each]) for each in _documents(few))
        figures = {"tokens/s": done / (time.monotonic() - started)}
        progress.step("reads how hard texts are", place[0] * len(rows) + start, place[1] * len(rows), figures)
    documents = _documents(rows)
    # A text without a target is never trained on; encoding leaves it out.
    means: Figures = sums[documents] / np.maximum(counts[documents], 1)[:, None]
    return means


@torch.no_grad()
def _batch(
    settings: DifficultySettings, model: LocalTeacher, split: Split, rows: list[list[int]]
) -> tuple[Figures, npt.NDArray[np.int64]]:
    """`MEASURES` at every counted position, and the text that each is of."""
    batch = make_batch(split, rows, sequence_length=settings.sequence_length, pad_id=0, device=settings.compute.device)
    said = model.targets(batch).distribution
    assert isinstance(said, Dense | Factored)
    places, positions = (batch.labels != IGNORED).nonzero(as_tuple=True)
    owners = np.full(batch.labels.shape, -1, dtype=np.int64)
    for row, documents in enumerate(rows):
        lengths = [int(split.starts[each + 1] - split.starts[each]) for each in documents]
        owners[row, : sum(lengths)] = np.repeat(documents, lengths)
    found = []
    for start in range(0, len(places), _POSITIONS):
        part = slice(start, start + _POSITIONS)
        log_probs = said.at(places[part], positions[part]).float().log_softmax(-1)
        losses = -log_probs.gather(-1, batch.labels[places[part], positions[part]][:, None])[:, 0]
        found.append(torch.stack([losses, -(log_probs.exp() * log_probs).sum(-1)], dim=1))
    figures: Figures = torch.cat(found).cpu().double().numpy() if found else np.zeros((0, len(MEASURES)))
    return figures, owners[places.cpu().numpy(), positions.cpu().numpy()]


def _keep(file: Path, figures: Figures) -> None:
    """In one rename, so that a kill leaves no half of it."""
    partial = file.with_suffix(".partial")
    with partial.open("wb") as opened:
        np.save(opened, figures)
    partial.replace(file)


def _facts(split: Split, figures: Figures) -> dict[str, object]:
    sets: dict[str, list[int]] = defaultdict(list)
    for document, name in enumerate(split.names):
        sets[set_of(name)].append(document)
    return {
        "texts": split.num_documents,
        **_quantiles(figures),
        "sets": {name: {"texts": len(members), **_quantiles(figures[members])} for name, members in sets.items()},
    }


def _quantiles(figures: Figures) -> dict[str, dict[str, float]]:
    return {
        measure: {f"p{100 * each:g}": float(np.quantile(figures[:, column], each)) for each in _QUANTILES}
        for column, measure in enumerate(MEASURES)
    }
