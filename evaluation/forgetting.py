"""What a student that was trained round by round kept of each domain: held-out text after every round, set by set.

The same documents are read by every student, so what sets two of them apart is paired by document.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.evidence import Evidence, of_sums
from evaluation.results import DomainFigures
from evaluation.score_files import read
from evaluation.statistics import LEVEL
from stillhouse.data.dataset import set_of
from stillhouse.recipe.continual import Continual

RATIO = "loss_ratio_to_own_round"
_FILE = "held_out.json"


@dataclass(frozen=True)
class Domain:
    """One data set, and what its documents prove."""

    figures: DomainFigures
    evidence: Evidence | None
    """Of the ratio; `None` for a set that no round came after."""


def domains_of(route: Continual, inputs: Mapping[str, Path], *, seed: int) -> dict[str, Domain]:
    """Give each data set's row of the matrix: its held-out loss before any training, and after each round.

    A set without held-out text has no row.

    Args:
        route: Of the recipe.
        inputs: `held_out_pruned` and `held_out_student`, and `before_round-1` and so on, of the rounds before the last.
        seed: Of the interval's resamples.
    """
    students = _students(route, inputs)
    found = {}
    for name, own_round in _rounds(route).items():
        sums = {student: _sums(rows, name) for student, rows in students.items()}
        tokens = sums["student"]["tokens"]
        if not tokens.sum():
            continue
        losses = {student: float(one["nats"].sum() / tokens.sum()) for student, one in sums.items()}
        evidence, ratio = None, None
        if own_round < len(route.rounds):
            own = f"round-{own_round}"
            evidence = of_sums(sums["student"]["nats"], sums[own]["nats"], seed=seed)
            ratio = losses["student"] / losses[own]
        interval = None if evidence is None else evidence.interval_at(LEVEL)
        figures = DomainFigures(
            round=own_round,
            documents=int(np.count_nonzero(tokens)),
            tokens=int(tokens.sum()),
            loss_nats_per_token=losses,
            loss_ratio_to_own_round=ratio,
            intervals={} if interval is None else {RATIO: interval},
        )
        found[name] = Domain(figures, evidence)
    return found


def gated_domains(route: Continual) -> tuple[str, ...]:
    """Data sets whose forgetting a gate may limit; in a path of `results.json` a name with a dot cannot stand."""
    last = len(route.rounds)
    return tuple(name for name, own_round in _rounds(route).items() if own_round < last and "." not in name)


def _rounds(route: Continual) -> dict[str, int]:
    """Each data set with the round it came in, from 1."""
    return {name: number for number, told in enumerate(route.rounds, start=1) for name in told.sets}


def _students(route: Continual, inputs: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """What was found of the start and of the student after each round, in their order."""
    rounds = {f"round-{number}": f"before_round-{number}" for number in range(1, len(route.rounds))}
    places = {"pruned": "held_out_pruned", **rounds, "student": "held_out_student"}
    return {student: read(inputs[name], _FILE)["documents"] for student, name in places.items()}


def _sums(rows: list[dict[str, Any]], data_set: str) -> dict[str, NDArray[np.float64]]:
    # A document of a set's own held-out file is called `set/held-out/number`.
    own = [row for row in rows if set_of(row["document"]).removesuffix("/held-out") == data_set]
    return {
        "tokens": np.array([row["tokens"] for row in own], dtype=np.float64),
        "nats": np.array([row["loss_nats"] for row in own], dtype=np.float64),
    }
