"""A model beside its teacher, document by document: both answered the same ones, so what is hard for both cancels."""

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.behaviour import stereoset_scores
from evaluation.benchmark_files import POOLED
from evaluation.measure_names import is_share
from evaluation.statistics import NORMAL, bootstrap_mean_interval

Interval = tuple[float, float]
Difference = tuple[float, Interval | None]


def difference_to_teacher(values: Sequence[float], teacher_values: Sequence[float], *, seed: int) -> Difference:
    """Return a model's mean less its teacher's, and the 95% interval of that by bootstrap over documents.

    Args:
        values: One number a document.
        teacher_values: The teacher's, of the same documents in the same order.
        seed: Of the resamples.

    Returns:
        The difference, and its interval; `None` where all documents differ alike, since no resample then tells how
        far others would.

    Raises:
        ValueError: If the two are not of equally many documents, or of fewer than two.
    """
    differences = _differences("the documents", values, teacher_values)
    interval = bootstrap_mean_interval(differences, np.ones(len(differences)), seed=seed)
    return float(differences.mean()), interval if interval[0] < interval[1] else None


def difference_of_shares(
    right: Mapping[str, Sequence[float]], teacher_right: Mapping[str, Sequence[float]]
) -> tuple[float, Interval]:
    """Return the difference of two shares of right answers, and its 95% interval, over one benchmark or several.

    The interval is that of Agresti and Min (2005, Statistics in Medicine 24, 729-740): half a document is added to each
    cell of the table of both models' answers. Unlike a bootstrap it has a width where all documents agree. Benchmarks
    are strata, each with its own table: they were chosen, only their documents stand for others.

    Args:
        right: Of each benchmark, 1 or 0 a document.
        teacher_right: The teacher's, of the same documents in the same order.

    Raises:
        ValueError: If the two are not of the same benchmarks and of equally many documents.
    """
    _refuse_others(right, teacher_right)
    total, centre, variance, documents = 0.0, 0.0, 0.0, 0
    for name in right:
        differences = _differences(name, right[name], teacher_right[name])
        count = len(differences)
        gained, lost = ((np.count_nonzero(differences == way) + 0.5) / (count + 2) for way in (1, -1))
        total += float(differences.sum())
        centre += count * (gained - lost)
        variance += count**2 * (gained + lost - (gained - lost) ** 2) / (count + 2)
        documents += count
    reach = NORMAL * sqrt(variance) / documents
    middle = centre / documents
    return total / documents, (max(-1.0, middle - reach), min(1.0, middle + reach))


def compare_capability(folder: Path, teacher: Path) -> dict[str, Difference]:
    """Return the difference to the teacher on each benchmark and `pooled`, with its interval.

    Args:
        folder: What `evaluate_capability` made of a model.
        teacher: The same of its teacher.

    Raises:
        ValueError: If the two were not scored on the same documents.
    """
    own, others = (
        {name: [float(right) for right in score["correct"]] for name, score in _read(each, "capability.json").items()}
        for each in (folder, teacher)
    )
    _refuse_others(own, others)
    found: dict[str, Difference] = {name: difference_of_shares({name: own[name]}, {name: others[name]}) for name in own}
    return found | {POOLED: difference_of_shares(own, others)}


def compare_behaviour(folder: Path, teacher: Path, *, seed: int) -> dict[str, Difference]:
    """Return the difference to the teacher in each measure, with its interval.

    Args:
        folder: What `evaluate_behaviour` made of a model.
        teacher: The same of its teacher.
        seed: Of the resamples.

    Raises:
        ValueError: If the two were not measured on the same documents.
    """
    own, others = (_read(each, "behaviour.json") for each in (folder, teacher))
    _refuse_others(own, others)
    found: dict[str, Difference] = {}
    for name in own:
        values, teacher_values = own[name]["values"], others[name]["values"]
        if values is not None and is_share(name):
            found[name] = difference_of_shares({name: values}, {name: teacher_values})
        elif values is not None:
            found[name] = difference_to_teacher(values, teacher_values, seed=seed)
    if (folder / stereoset_scores.FILE).is_file():
        triples, teacher_triples = (_read(each, stereoset_scores.FILE) for each in (folder, teacher))
        found |= stereoset_scores.differences(triples, teacher_triples, seed=seed)
    return found


def _differences(name: str, values: Sequence[float], teacher_values: Sequence[float]) -> NDArray[np.float64]:
    if len(values) != len(teacher_values):
        raise ValueError(
            f"{name}: the model has {len(values)} values and the teacher {len(teacher_values)}; both must have "
            "answered the same documents"
        )
    return np.asarray(values, dtype=np.float64) - np.asarray(teacher_values, dtype=np.float64)


def _refuse_others(own: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    if set(own) != set(others):
        raise ValueError(
            f"the model was measured on {', '.join(sorted(own))} and the teacher on {', '.join(sorted(others))}; "
            "only the same can be compared"
        )


def _read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content
