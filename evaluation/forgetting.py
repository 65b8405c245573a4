"""What a student that was trained round by round kept of each domain: held-out text after every round, set by set.

The same documents are read by every student, so what sets two of them apart is paired by document.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.evidence import Evidence, of_sums
from evaluation.results import DomainFigures
from evaluation.score_files import read
from evaluation.statistics import LEVEL
from stillhouse.recipe.continual import Continual

RATIO = "loss_ratio_to_own_round"
_FILE = "held_out.json"


def domain_figures(route: Continual, inputs: Mapping[str, Path], *, seed: int) -> dict[str, DomainFigures]:
    """Give each data set's row of the matrix: its held-out loss before any training, and after each round.

    A set without held-out text has no row.

    Args:
        route: Of the recipe.
        inputs: `held_out_pruned` and `held_out_student`, and `before_round-1` and so on, of the rounds before the last.
        seed: Of the interval's resamples.
    """
    students = _students(inputs)
    found = {}
    for name, own_round in _rounds(route).items():
        sums = {student: _sums(rows, name) for student, rows in students.items()}
        tokens = sums["student"]["tokens"]
        if not tokens.sum():
            continue
        evidence = _evidence(sums, own_round, len(route.rounds), seed)
        interval = None if evidence is None else evidence.interval_at(LEVEL)
        losses = {student: float(one["nats"].sum() / tokens.sum()) for student, one in sums.items()}
        found[name] = DomainFigures(
            round=own_round,
            documents=int(np.count_nonzero(tokens)),
            tokens=int(tokens.sum()),
            loss_nats_per_token=losses,
            loss_ratio_to_own_round=_ratio(losses, own_round, len(route.rounds)),
            intervals={} if interval is None else {RATIO: interval},
        )
    return found


def domain_evidence(route: Continual, inputs: Mapping[str, Path], *, seed: int) -> dict[str, Evidence]:
    """Give the evidence behind each ratio, by data set; none for one that no round came after."""
    students = _students(inputs)
    found = {}
    for name, own_round in _rounds(route).items():
        sums = {student: _sums(rows, name) for student, rows in students.items()}
        if (evidence := _evidence(sums, own_round, len(route.rounds), seed)) is not None:
            found[name] = evidence
    return found


def gated_domains(route: Continual) -> tuple[str, ...]:
    """Data sets whose forgetting a gate may limit; in a path of `results.json` a name with a dot cannot stand."""
    last = len(route.rounds)
    return tuple(name for name, own_round in _rounds(route).items() if own_round < last and "." not in name)


def _rounds(route: Continual) -> dict[str, int]:
    """Each data set with the round it came in, from 1."""
    return {name: number for number, told in enumerate(route.rounds, start=1) for name in told.sets}


def _students(inputs: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """What was found of the start and of the student after each round, in their order."""
    rounds = sorted((name for name in inputs if name.startswith("before_round-")), key=lambda name: int(name[13:]))
    places = {"pruned": "held_out_pruned", **{name.removeprefix("before_"): name for name in rounds}}
    places |= {"student": "held_out_student"}
    return {student: read(inputs[name], _FILE)["documents"] for student, name in places.items()}


def _sums(rows: list[dict[str, Any]], data_set: str) -> dict[str, NDArray[np.float64]]:
    own = [row for row in rows if _set_of(row["document"]) == data_set]
    return {
        "tokens": np.array([row["tokens"] for row in own], dtype=np.float64),
        "nats": np.array([row["loss_nats"] for row in own], dtype=np.float64),
    }


def _set_of(document: str) -> str:
    """The data set of `set/number`; a document of a set's own held-out file is called `set/held-out/number`."""
    return document.rpartition("/")[0].removesuffix("/held-out")


def _after(own_round: int, num_rounds: int) -> str:
    return "student" if own_round == num_rounds else f"round-{own_round}"


def _ratio(losses: Mapping[str, float], own_round: int, num_rounds: int) -> float | None:
    return None if own_round == num_rounds else losses["student"] / losses[_after(own_round, num_rounds)]


def _evidence(
    sums: Mapping[str, Mapping[str, NDArray[np.float64]]], own_round: int, num_rounds: int, seed: int
) -> Evidence | None:
    if own_round == num_rounds:
        return None
    return of_sums(sums["student"]["nats"], sums[_after(own_round, num_rounds)]["nats"], seed=seed)
