"""What the files of `evaluate_capability` and `evaluate_behaviour` hold of each document, read for comparison."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.evidence import Direction
from evaluation.measure_names import is_share


@dataclass(frozen=True)
class DocumentScores:
    """One model's score on each document of a benchmark or measure."""

    values: NDArray[np.float64]
    """One number a document, in the documents' order."""
    weights: NDArray[np.float64] | None
    """One number a document where the figure is a ratio of sums, as bytes under bits; else the figure is the mean."""
    clusters: NDArray[np.int64] | None
    """One number a document, equal where documents share a passage; `None` where each stands alone."""
    direction: Direction
    share: bool
    """Whether each document counts 1 or 0."""

    @property
    def denominators(self) -> NDArray[np.float64]:
        """What the sum of values is divided by, a number a document."""
        return np.ones(len(self.values)) if self.weights is None else self.weights


def read_capability(folder: Path) -> dict[str, DocumentScores]:
    """Read the scores by document of every benchmark in `capability.json`."""
    return {
        # Files of before bits per byte hold right and wrong alone.
        name: _scores(score, score.get("values", score["correct"]), "higher is better", share=_has_answers(score))
        for name, score in read(folder, "capability.json").items()
    }


def read_behaviour(folder: Path) -> dict[str, DocumentScores | None]:
    """Read the scores by document of every measure in `behaviour.json`; `None` for one that is no mean over them."""
    return {
        name: None if found["values"] is None else _scores(found, found["values"], "no direction", share=is_share(name))
        for name, found in read(folder, "behaviour.json").items()
    }


def together(scored: Sequence[DocumentScores]) -> DocumentScores:
    """Join the documents of several benchmarks that are shares, their clusters numbered through."""
    clusters: list[NDArray[np.int64]] = []
    for scores in scored:
        start = int(clusters[-1].max()) + 1 if clusters else 0
        alone = np.arange(len(scores.values))
        groups = alone if scores.clusters is None else np.unique(scores.clusters, return_inverse=True)[1]
        clusters.append(groups + start)
    shared = any(scores.clusters is not None for scores in scored)
    return DocumentScores(
        values=np.concatenate([scores.values for scores in scored]),
        weights=None,
        clusters=np.concatenate(clusters) if shared else None,
        direction=scored[0].direction,
        share=True,
    )


def read(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of an artifact."""
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content


def _has_answers(score: dict[str, Any]) -> bool:
    """Say whether each document of a benchmark was answered rightly or not; bits per byte and F1 have no such."""
    return score["correct"] is not None


def _scores(found: dict[str, Any], values: Any, direction: Direction, *, share: bool) -> DocumentScores:
    numbers = np.asarray(values, dtype=np.float64)
    weights, clusters = found.get("weights"), found.get("clusters")
    return DocumentScores(
        values=numbers,
        weights=None if weights is None else np.asarray(weights, dtype=np.float64),
        clusters=None if clusters is None else np.asarray(clusters),
        direction=found.get("direction", direction),
        share=share and weights is None and bool(np.isin(numbers, (0, 1)).all()),
    )
