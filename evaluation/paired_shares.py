"""Two models' right answers on the same documents: what the table of both says, and what it cannot say.

A document is gained where only this model answers it rightly, lost where only the other does; all others say nothing of
the difference. No interval here has width zero: that no document differs among few does not prove that none would.

Documents that share a passage tend to be gained or lost together. Their table then counts as one of fewer documents, as
Rao and Scott (1992, Biometrics 48, 577-585) divide counts by the design effect, the factor by which clusters raise the
variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.statistics import LEVEL, by_cluster

Interval = tuple[float, float]
POWER = 0.8
"""How often a difference of the smallest size that counts as seen is found."""
# Of halving: to 2e-12.
_STEPS = 40


@dataclass(frozen=True)
class PairedTable:
    """Right answers of two models on the same documents."""

    gained: int
    """Documents that only this model answers rightly."""
    lost: int
    """Documents that only the other does."""
    documents: int
    design_effect: float = 1.0
    """Variance over that of as many documents without clusters, at least 1."""

    @property
    def difference(self) -> float:
        """This model's share of right answers less the other's."""
        return (self.gained - self.lost) / self.documents

    @property
    def variance(self) -> float:
        """Of the difference, half a document added to each cell as Agresti and Min do, so that it is never 0."""
        gained, lost = ((count + 0.5) / (self.documents + 2) for count in (self.gained, self.lost))
        return (gained + lost - (gained - lost) ** 2) / (self.documents + 2) * self.design_effect


def tabulate(differences: ArrayLike, clusters: ArrayLike | None = None) -> PairedTable:
    """Count the documents that one model answers rightly and the other does not.

    Args:
        differences: 1, 0 or -1 a document: this model's right answer less the other's.
        clusters: One number a document, equal for documents that share a passage.
    """
    found = np.asarray(differences, dtype=np.float64)
    gained, lost = (int(np.count_nonzero(found == way)) for way in (1, -1))
    return PairedTable(gained, lost, len(found), design_effect(found, clusters))


def pool(tables: Sequence[PairedTable]) -> PairedTable:
    """Return one table of the documents of several.

    Its variance is not below that of the tables taken as strata: what they differ by is counted as chance too.
    """
    gained, lost, documents = (sum(getattr(one, name) for one in tables) for name in ("gained", "lost", "documents"))
    shares = [one.documents**2 * one.variance for one in tables]
    alone = sum(share / one.design_effect for share, one in zip(shares, tables, strict=True))
    return PairedTable(gained, lost, documents, sum(shares) / alone)


def design_effect(values: ArrayLike, clusters: ArrayLike | None) -> float:
    """Return by how much clusters raise the variance of the mean of values that lie in -1 to 1; at least 1.

    Half a cluster that is wholly 1 and half a cluster that is wholly -1 are added, so that few values that differ from
    the rest do not pass for proof that clusters are of no account.

    Args:
        values: One number a document.
        clusters: One number a document; `None` where each stands alone.
    """
    if clusters is None:
        return 1.0
    found = np.asarray(values, dtype=np.float64)
    misses = found - found.mean()
    together = by_cluster(misses, clusters)
    sizes = by_cluster(np.ones(len(found)), clusters)
    size = float(sizes @ sizes / sizes.sum())
    return max(1.0, (float(together @ together) + size**2) / (float(misses @ misses) + size))


def agresti_min_interval(tables: Sequence[PairedTable], *, level: float = LEVEL) -> Interval:
    """Return the interval of the difference of two shares of right answers, over one table or several.

    Agresti and Min (2005, Statistics in Medicine 24, 729-740): half a document is added to each cell. Several tables
    are strata: benchmarks were chosen, only their documents stand for others.
    """
    documents = sum(one.documents for one in tables)
    middle = sum(one.documents * (one.gained - one.lost) / (one.documents + 2) for one in tables) / documents
    spread = sqrt(sum(one.documents**2 * one.variance for one in tables)) / documents
    reach = NormalDist().inv_cdf((1 + level) / 2) * spread
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def score_interval(table: PairedTable, *, level: float) -> Interval:
    """Return Tango's score interval of a table; see `score_bounds`."""
    scale = 1 / table.design_effect
    low, high = score_bounds(table.gained * scale, table.lost * scale, table.documents * scale, level=level)
    return float(low), float(high)


def score_bounds(
    gained: ArrayLike, lost: ArrayLike, documents: ArrayLike, *, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the score interval of the difference of paired shares, for many tables at once.

    Tango (1998, Statistics in Medicine 17, 891-908): it holds the differences that a score test would not refuse, with
    the variance that the table would have if that difference were the true one. So it has a width where no document
    differs (among n, z^2 / (n + z^2) to either side), and keeps its level at the margin, where gates need it. Counts
    may be broken numbers.
    """
    up, down, whole = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (gained, lost, documents)))
    reach = NormalDist().inv_cdf((1 + level) / 2)
    return _score_bound(up, down, whole, reach), _score_bound(up, down, whole, -reach)


def _score_bound(
    gained: NDArray[np.float64], lost: NDArray[np.float64], documents: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Find by halving the difference whose score is `reach`; the score falls as the difference grows."""
    low, high = np.full(gained.shape, -1.0), np.full(gained.shape, 1.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        # The likeliest share of lost documents, were the difference `middle`.
        linear = -gained - lost + (2 * documents - gained + lost) * middle
        root = np.sqrt(np.maximum(linear**2 + 8 * documents * lost * middle * (1 - middle), 0))
        likeliest = np.maximum((root - linear) / (4 * documents), 0)
        variance = np.maximum(documents * (2 * likeliest + middle * (1 - middle)), 1e-300)
        above = (gained - lost - documents * middle) / np.sqrt(variance) > reach
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def minimum_detectable_difference(table: PairedTable) -> float | None:
    """Return the smallest true difference that McNemar's test finds four times in five; `None` where it finds none.

    Two-sided at 5%, power 80%. Connor (1987, Biometrics 43, 207-211) gives the documents n that a difference d takes
    where a share s of the documents differs: n d = z_0.975 sqrt(n s) + z_0.8 sqrt(n (s - d^2)). One document is added
    to the right side, since the exact test steps from document to document. The share s is that of the table with half
    a document added to the gained and to the lost, since no difference among few does not mean that none exists, and
    never below d, since d takes as many documents that differ.
    """
    documents = table.documents / table.design_effect
    discordance = (table.gained + table.lost + 1) / (table.documents + 2)
    chance, power = (NormalDist().inv_cdf(share) for share in (0.975, POWER))

    def is_seen(difference: float) -> bool:
        share = max(discordance, difference)
        needed = chance * sqrt(documents * share) + power * sqrt(documents * (share - difference**2)) + 1
        return documents * difference >= needed

    if not is_seen(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_seen(middle) else (middle, high)
    return high


def wilson_interval(share: float, documents: float, *, level: float = LEVEL) -> Interval:
    """Return the interval of one share of documents (Wilson, 1927).

    Unlike a share and its standard errors it has a width where all documents, or none, were answered rightly.

    Args:
        share: 0 to 1.
        documents: How many; with clusters, over their design effect.
        level: How often the interval holds the truth.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    scale = 1 + z**2 / documents
    centre = (share + z**2 / (2 * documents)) / scale
    reach = z / scale * sqrt(share * (1 - share) / documents + z**2 / (4 * documents**2))
    return centre - reach, centre + reach
