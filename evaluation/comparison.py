"""A model beside its teacher, document by document: both answered the same ones, so what is hard for both cancels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.statistics import LEVEL, bootstrap_mean_interval

Interval = tuple[float, float]
POOLED = "pooled"
_RESAMPLES = 2000


def difference_to_teacher(
    values: Sequence[float], teacher_values: Sequence[float], *, seed: int
) -> tuple[float, Interval]:
    """Return a model's mean less its teacher's, and the 95% interval of that by bootstrap over documents.

    Args:
        values: One number a document.
        teacher_values: The teacher's, of the same documents in the same order.
        seed: Of the resamples.

    Raises:
        ValueError: If the two are not of equally many documents, or of fewer than two.
    """
    differences = _differences("the documents", values, teacher_values)
    interval = bootstrap_mean_interval(differences, np.ones(len(differences)), seed=seed)
    return float(differences.mean()), interval


def pooled_difference(
    values: Mapping[str, Sequence[float]], teacher_values: Mapping[str, Sequence[float]], *, seed: int
) -> tuple[float, Interval]:
    """Return the difference over the documents of all benchmarks together, and its 95% interval.

    Documents are drawn within each benchmark, so that every benchmark keeps its weight: the benchmarks were chosen,
    only their documents stand for others.

    Args:
        values: Of each benchmark, one number a document.
        teacher_values: The teacher's.
        seed: Of the resamples.

    Raises:
        ValueError: If the two are not of the same benchmarks and of equally many documents.
    """
    _refuse_others(values, teacher_values)
    generator = np.random.default_rng(seed)
    total, documents = 0.0, 0
    drawn = np.zeros(_RESAMPLES)
    for name in values:
        differences = _differences(name, values[name], teacher_values[name])
        count = len(differences)
        drawn += generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) @ differences
        total += float(differences.sum())
        documents += count
    low, high = np.quantile(drawn / documents, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return total / documents, (float(low), float(high))


def compare_capability(folder: Path, teacher: Path, *, seed: int) -> dict[str, tuple[float, Interval]]:
    """Return the difference to the teacher on each benchmark and `pooled`, with its interval.

    Args:
        folder: What `evaluate_capability` made of a model.
        teacher: The same of its teacher.
        seed: Of the resamples.

    Raises:
        ValueError: If the two were not scored on the same documents.
    """
    own, others = (
        {name: [float(right) for right in score["correct"]] for name, score in _read(each, "capability.json").items()}
        for each in (folder, teacher)
    )
    _refuse_others(own, others)
    found = {name: difference_to_teacher(own[name], others[name], seed=seed) for name in own}
    return found | {POOLED: pooled_difference(own, others, seed=seed)}


def compare_behaviour(folder: Path, teacher: Path, *, seed: int) -> dict[str, tuple[float, Interval | None]]:
    """Return the difference to the teacher in each measure, with its interval where the measure is a mean.

    Args:
        folder: What `evaluate_behaviour` made of a model.
        teacher: The same of its teacher.
        seed: Of the resamples.

    Raises:
        ValueError: If the two were not measured on the same documents.
    """
    own, others = (_read(each, "behaviour.json") for each in (folder, teacher))
    _refuse_others(own, others)
    values, teacher_values = (_read(each, "facts.json") for each in (folder, teacher))
    found: dict[str, tuple[float, Interval | None]] = {}
    for name in own:
        if own[name]["values"] is None:
            found[name] = values[name]["value"] - teacher_values[name]["value"], None
        else:
            found[name] = difference_to_teacher(own[name]["values"], others[name]["values"], seed=seed)
    return found


def _differences(name: str, values: Sequence[float], teacher_values: Sequence[float]) -> Any:
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
