"""A model beside its teacher, document by document: both answered the same ones, so what is hard for both cancels.

Shares of documents are compared by the table of both models' answers, all other figures by bootstrap over documents;
see docs/statistics.md. A suite's p-values stand beside each other (Holm), since of twenty comparisons one is below 5%
by chance.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.behaviour import stereoset_scores
from evaluation.benchmark_files import POOLED
from evaluation.drawn_statistics import drawn_figures, statistic
from evaluation.evidence import Direction, Evidence, Interval, of_draws, of_sums, of_tables
from evaluation.paired_shares import (
    POWER,
    agresti_min_interval,
    minimum_detectable_difference,
    pool,
    tabulate,
)
from evaluation.score_files import DocumentScores, read, read_behaviour, read_capability, together
from evaluation.statistics import LEVEL, exact_sign_flip, holm


@dataclass(frozen=True)
class Compared:
    """A model's figure less its teacher's, and how sure that is."""

    difference: float
    interval: Interval | None
    """At 95%; `None` where all documents differ alike, since nothing then tells how far others would."""
    p_value: float | None
    """Two-sided, of no difference; `None` where there is no interval."""
    evidence: Evidence | None
    """The difference at any level, for gates; `None` with too few documents."""
    gained: int | None = None
    """Shares only: documents that count with this model alone."""
    lost: int | None = None
    """Shares only: documents that count with the teacher alone."""
    minimum_detectable: float | None = None
    """The smallest true difference that so many documents show four times in five."""
    p_value_holm: float | None = None
    """`p_value` among those of the suite; `None` for what is no part of it of its own, as all documents pooled."""

    def as_score(self) -> dict[str, Any]:
        """Return the fields of `evaluation.results.Score` that say this."""
        return {
            "difference_to_teacher": self.difference,
            "difference_interval": self.interval,
            "p_value": self.p_value,
            "p_value_holm": self.p_value_holm,
            "gained": self.gained,
            "lost": self.lost,
            "minimum_detectable_difference": self.minimum_detectable,
        }


def compare_capability(
    folder: Path, teacher: Path, *, seed: int, not_scored: Collection[str] = ()
) -> dict[str, Compared]:
    """Return the comparison with the teacher on each benchmark, and over all shares of right answers `pooled`.

    Args:
        folder: What `evaluate_capability` made of a model.
        teacher: The same of its teacher.
        seed: Of the resamples.
        not_scored: Tasks that one of the two could not be scored on, and that are not compared.

    Raises:
        ValueError: If the two were not scored on the same documents.
    """
    own, others = (
        {name: scores for name, scores in read_capability(each).items() if name not in not_scored}
        for each in (folder, teacher)
    )
    _refuse_others(own, others)
    found = {name: compare_documents(name, own[name], others[name], seed=seed) for name in own}
    shares = [name for name in own if own[name].share and others[name].share]
    if not shares:
        return corrected(found)
    pooled = compare_shares([own[name] for name in shares], [others[name] for name in shares])
    return corrected(found) | {POOLED: pooled}


def compare_behaviour(folder: Path, teacher: Path, *, seed: int) -> dict[str, Compared]:
    """Return the comparison with the teacher in each measure.

    Args:
        folder: What `evaluate_behaviour` made of a model.
        teacher: The same of its teacher.
        seed: Of the resamples.

    Raises:
        ValueError: If the two were not measured on the same documents.
    """
    own, others = read_behaviour(folder), read_behaviour(teacher)
    _refuse_others(own, others)
    found: dict[str, Compared] = {}
    for name, scores in own.items():
        teachers = others[name]
        if scores is not None and teachers is not None:
            found[name] = compare_documents(name, scores, teachers, seed=seed)
    found |= _drawn(folder, teacher, seed=seed)
    if (folder / stereoset_scores.FILE).is_file():
        found |= _stereoset(folder, teacher, seed=seed)
    return corrected(found)


def compare_documents(name: str, own: DocumentScores, teacher: DocumentScores, *, seed: int) -> Compared:
    """Compare one figure of two models on the same documents.

    Args:
        name: Of the benchmark or measure.
        own: The model's scores.
        teacher: The teacher's, of the same documents in the same order.
        seed: Of the resamples.

    Raises:
        ValueError: If the two are not of the same documents.
    """
    _refuse_other_documents(name, own, teacher)
    if own.share and teacher.share:
        return compare_shares([own], [teacher])
    differences, weights = own.values - teacher.values, own.denominators
    evidence = of_sums(differences, weights, seed=seed, clusters=own.clusters, direction=own.direction)
    if evidence is None:
        return Compared(float(differences.sum() / weights.sum()), None, None, None)
    return _by_draws(evidence)


def compare_shares(own: Sequence[DocumentScores], teacher: Sequence[DocumentScores]) -> Compared:
    """Compare two models' shares of documents, over one benchmark or several, each with its own table.

    Args:
        own: The model's scores, of one way to be better.
        teacher: The teacher's, of the same documents in the same order.
    """
    differences = [one.values - other.values for one, other in zip(own, teacher, strict=True)]
    tables = [tabulate(found, scores.clusters) for found, scores in zip(differences, own, strict=True)]
    whole = pool(tables)
    return Compared(
        whole.difference,
        agresti_min_interval(tables),
        exact_sign_flip(np.concatenate(differences), together(own).clusters),
        of_tables(tables, direction=own[0].direction),
        whole.gained,
        whole.lost,
        minimum_detectable_difference(whole),
    )


def corrected(found: Mapping[str, Compared]) -> dict[str, Compared]:
    """Give every p-value of a suite its place among them all, by Holm."""
    adjusted = holm({name: one.p_value for name, one in found.items() if one.p_value is not None})
    return {name: replace(one, p_value_holm=adjusted.get(name)) for name, one in found.items()}


def _drawn(folder: Path, teacher: Path, *, seed: int) -> dict[str, Compared]:
    """Figures that are no means: of every draw of documents, both models' figures anew."""
    records, others = (read(each, "behaviour.json") for each in (folder, teacher))
    compared: dict[str, Compared] = {}
    for name, record in records.items():
        if (kind := record.get("statistic")) is None:
            continue
        both = [np.asarray(each[name]["rows"], dtype=np.float64) for each in (records, others)]
        if len(both[0]) != len(both[1]) or record["clusters"] != others[name]["clusters"]:
            raise ValueError(f"{name}: the model and the teacher answered other documents; both must have the same")
        drawn, units = drawn_figures(kind, both, record["clusters"], seed=seed)
        difference = statistic(kind, both[0]) - statistic(kind, both[1])
        evidence = of_draws(
            difference,
            drawn[:, 0] - drawn[:, 1],
            num_units=units,
            documents=len(both[0]),
            direction=record["direction"],
        )
        compared[name] = _by_draws(evidence)
    return compared


def _stereoset(folder: Path, teacher: Path, *, seed: int) -> dict[str, Compared]:
    """The published scores, whose terms are drawn."""
    triples, teacher_triples = (read(each, stereoset_scores.FILE) for each in (folder, teacher))
    directions = read(folder, "behaviour.json")
    found = stereoset_scores.drawn_differences(triples, teacher_triples, seed=seed)
    compared: dict[str, Compared] = {}
    for name, value, drawn in zip(stereoset_scores.MEASURES, found.values, found.drawn.T, strict=True):
        direction: Direction = directions.get(name, {}).get("direction", "no direction")
        evidence = of_draws(value, drawn, num_units=found.terms, documents=len(triples["terms"]), direction=direction)
        compared[name] = _by_draws(evidence)
    return compared


def _by_draws(evidence: Evidence) -> Compared:
    """What draws of documents, or of terms, say of a difference."""
    interval = evidence.interval_at(LEVEL)
    if interval is None or evidence.p_value is None:
        return Compared(evidence.value, None, None, evidence)
    return Compared(evidence.value, interval, evidence.p_value(), evidence, minimum_detectable=_detectable(evidence))


def _detectable(evidence: Evidence) -> float:
    """The smallest difference seen four times in five, two-sided at 5%, by the spread of these documents."""
    return evidence.standard_error * sum(NormalDist().inv_cdf(share) for share in ((1 + LEVEL) / 2, POWER))


def _refuse_other_documents(name: str, own: DocumentScores, teacher: DocumentScores) -> None:
    if len(own.values) != len(teacher.values):
        raise ValueError(
            f"{name}: the model has {len(own.values)} values and the teacher {len(teacher.values)}; both must have "
            "answered the same documents"
        )
    if not np.array_equal(_groups(own), _groups(teacher)):
        raise ValueError(
            f"{name}: the model's documents are grouped otherwise than the teacher's; both must be the same"
        )
    if not np.array_equal(own.denominators, teacher.denominators):
        raise ValueError(
            f"{name}: the model's documents are of other lengths than the teacher's; both must be the same"
        )


def _groups(scores: DocumentScores) -> NDArray[np.int64]:
    return np.arange(len(scores.values)) if scores.clusters is None else scores.clusters


def _refuse_others(own: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    if set(own) != set(others):
        raise ValueError(
            f"the model was measured on {', '.join(sorted(own))} and the teacher on {', '.join(sorted(others))}; "
            "only the same can be compared"
        )
