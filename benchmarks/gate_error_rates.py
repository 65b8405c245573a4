"""How often do gates and intervals err? Drawn data whose truth is known, judged by the gates themselves.

A false alarm is a student that is worse than its teacher by exactly the margin and passes; at most one less the gate's
confidence is promised. A miss is a student as good as its teacher that does not pass; how often, follows from the
documents and from how often the two differ. Cost: about seven minutes on one core.

    python -m benchmarks.gate_error_rates --out docs/benchmarks/gate_error_rates.json
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.comparison import Compared, compare_documents, compare_shares
from evaluation.evidence import Evidence, of_tables
from evaluation.gates import judge
from evaluation.paired_shares import PairedTable, minimum_detectable_difference
from evaluation.results import Verdict
from evaluation.score_files import DocumentScores
from evaluation.statistics import holm
from flows.environment import code_version, environment
from stillhouse.recipe.gates import Gate

FIGURE = "capability.drawn.student.value"
NOMINAL = 0.05
SHARES = tuple(product((100, 200, 600, 2000), (0.06, 0.15, 0.3), (0.05,))) + ((600, 0.04, 0.02), (2000, 0.1, 0.02))
"""Documents, share of them on which the two models differ, and margin."""
MEANS = (25, 50, 100, 300)
"""Documents with bits each, as heavy in the tail as texts of many lengths are."""
PASSAGES = ((40, 5), (120, 5), (40, 15))
"""Passages, and documents that share each."""
TOGETHER = 0.3
"""Share of passages whose documents are gained or lost as one; the others' are drawn one by one."""


def main() -> None:
    """Draw, judge, and write what was found."""
    options = _parser().parse_args()
    generator = np.random.default_rng(options.seed)
    few = max(2, options.repeats // 4)
    found = {
        "repeats": options.repeats,
        "few": few,
        "seed": options.seed,
        "shares": [_shares(generator, options.repeats, *case) for case in SHARES],
        "means": [_means(generator, few, count) for count in MEANS],
        "passages": [_passages(generator, few, *case) for case in PASSAGES],
        "suites": _suites(generator, few),
        "code": code_version(),
        "environment": environment(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(found), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; tables are written beside it")
    parser.add_argument("--repeats", type=int, default=4000, help="of tables; a quarter where documents are drawn")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _verdict(evidence: Evidence | None, margin: float) -> Verdict:
    """Let a gate judge a difference to the teacher."""
    assert evidence is not None, "every drawn case has documents"
    results = {"capability": {"drawn": {"student": {"value": 0.5, "difference_to_teacher": evidence.value}}}}
    gate = Gate(figure=FIGURE, relative_to="teacher", margin=margin)
    return judge([gate], results, {(FIGURE, "difference"): evidence})[0].verdict


@cache
def _verdict_of_table(gained: int, lost: int, documents: int, margin: float) -> Verdict:
    """The same of one table, of which many are drawn alike."""
    return _verdict(of_tables([PairedTable(gained, lost, documents)], direction="higher is better"), margin)


def _scores(values: NDArray[Any], clusters: NDArray[np.int64] | None, *, share: bool) -> DocumentScores:
    return DocumentScores(values.astype(np.float64), None, clusters, "higher is better", share)


def _compare(differences: NDArray[Any], clusters: NDArray[np.int64] | None) -> Compared:
    """Compare two models that differ so, and answer every other document wrongly."""
    own, teacher = (_scores(differences == way, clusters, share=True) for way in (1, -1))
    return compare_shares([own], [teacher])


def _shares(
    generator: np.random.Generator, repeats: int, documents: int, discordance: float, margin: float
) -> dict[str, Any]:
    """Paired tables of a known discordance: a student worse by the margin, an equal one, the smallest that is seen."""

    def rates(difference: float, **says: Callable[[Compared], bool]) -> dict[str, float]:
        differs = max(discordance, abs(difference))
        chances = [(differs + difference) / 2, (differs - difference) / 2, 1 - differs]
        tables, times = np.unique(generator.multinomial(documents, chances, repeats), axis=0, return_counts=True)
        compared = [_compare(np.array([1, -1, 0]).repeat(table), None) for table in tables]
        return {
            name: float(sum(time for one, time in zip(compared, times, strict=True) if said(one)) / repeats)
            for name, said in says.items()
        }

    def verdict(one: Compared) -> Verdict:
        assert one.gained is not None and one.lost is not None, "shares have both"
        return _verdict_of_table(one.gained, one.lost, documents, margin)

    typical = round(discordance * documents / 2)
    seen = minimum_detectable_difference(PairedTable(typical, typical, documents))
    assert seen is not None, "every case has documents enough"
    power = NormalDist().cdf(margin / sqrt(discordance / documents) - NormalDist().inv_cdf(1 - NOMINAL))
    return {
        "documents": documents,
        "discordance": discordance,
        "margin": margin,
        "miss_nominal": 1 - power,
        "minimum_detectable": seen,
        **rates(
            -margin,
            false_alarm=lambda one: verdict(one) == "passed",
            failed_at_margin=lambda one: verdict(one) == "failed",
            interval_misses=lambda one: not _holds(one, -margin),
        ),
        **rates(
            0.0,
            miss=lambda one: verdict(one) != "passed",
            equal_failed=lambda one: verdict(one) == "failed",
            mcnemar_of_equal=_is_called,
        ),
        **rates(-seen, minimum_detectable_found=_is_called),
    }


def _means(generator: np.random.Generator, repeats: int, documents: int) -> dict[str, Any]:
    """Differences in bits whose spread grows with a text's length: the mean's margin is three standard errors."""
    deviation = sqrt(np.exp(2.0) + 0.25 * np.exp(1.0) * (np.exp(1.0) - 1))
    margin = 3 * deviation / sqrt(documents)
    counts = dict.fromkeys(("false_alarm", "miss", "interval_misses", "p_below_5_percent"), 0)
    for _ in range(repeats):
        noise = generator.normal(size=documents) * generator.lognormal(0.0, 1.0, documents)
        # A mean of its own makes the differences skewed, as those of a student that is worse are.
        skewed = 0.5 * (generator.lognormal(0.0, 1.0, documents) - np.exp(0.5)) + noise
        zero = np.zeros(documents)
        equal = compare_documents("drawn", _scores(skewed, None, share=False), _scores(zero, None, share=False), seed=0)
        worse = compare_documents(
            "drawn", _scores(skewed - margin, None, share=False), _scores(zero, None, share=False), seed=0
        )
        counts["false_alarm"] += _verdict(worse.evidence, margin) == "passed"
        counts["miss"] += _verdict(equal.evidence, margin) != "passed"
        counts["interval_misses"] += not _holds(equal, 0.0)
        counts["p_below_5_percent"] += _is_called(equal)
    return {"documents": documents, **{name: count / repeats for name, count in counts.items()}}


def _passages(generator: np.random.Generator, repeats: int, passages: int, size: int) -> dict[str, Any]:
    """Shares and means of documents that share passages, judged with the passages known and without."""
    discordance, margin = 0.3, 0.1
    clusters = np.arange(passages).repeat(size)
    chances = [(discordance - margin) / 2, (discordance + margin) / 2, 1 - discordance]
    names = ("false_alarm", "interval_misses", "p_below_5_percent", "mean_interval_misses")
    counts = {way: dict.fromkeys(names, 0) for way in ("known", "unknown")}
    for _ in range(repeats):
        worse, equal = (_drawn(generator, passages, size, each) for each in (chances, [0.15, 0.15, 0.7]))
        for way, groups in (("known", clusters), ("unknown", None)):
            found, even = _compare(worse, groups), _compare(equal, groups)
            scores = (_scores(each, groups, share=False) for each in (worse, np.zeros(len(worse))))
            mean = compare_documents("drawn", *scores, seed=0)
            counts[way]["false_alarm"] += _verdict(found.evidence, margin) == "passed"
            counts[way]["interval_misses"] += not _holds(found, -margin)
            counts[way]["p_below_5_percent"] += _is_called(even)
            counts[way]["mean_interval_misses"] += not _holds(mean, -margin)
    rates = {way: {name: count / repeats for name, count in found.items()} for way, found in counts.items()}
    return {"passages": passages, "size": size, "together": TOGETHER, **rates}


def _drawn(generator: np.random.Generator, passages: int, size: int, chances: list[float]) -> NDArray[np.int64]:
    """Differences of documents, those of some passages all alike."""
    alone = generator.choice([1, -1, 0], (passages, size), p=chances)
    whole = generator.choice([1, -1, 0], (passages, 1), p=chances)
    as_one = generator.random((passages, 1)) < TOGETHER
    return np.where(as_one, whole, alone).ravel()


def _suites(
    generator: np.random.Generator, repeats: int, *, measures: int = 12, documents: int = 300
) -> dict[str, Any]:
    """Suites of equal models: how often is one of many differences called, by itself and by Holm?"""
    alone = among = 0
    for _ in range(repeats):
        tables = generator.multinomial(documents, [0.1, 0.1, 0.8], measures)
        p_values = {
            str(at): _compare(np.array([1, -1, 0]).repeat(table), None).p_value for at, table in enumerate(tables)
        }
        known = {name: value for name, value in p_values.items() if value is not None}
        alone += min(known.values()) < NOMINAL
        among += min(holm(known).values()) < NOMINAL
    return {"measures": measures, "documents": documents, "alone": alone / repeats, "holm": among / repeats}


def _is_called(one: Compared) -> bool:
    """Say whether the p-value alone calls two models different."""
    return one.p_value is not None and one.p_value < NOMINAL


def _holds(one: Compared, truth: float) -> bool:
    return one.interval is not None and one.interval[0] <= truth <= one.interval[1]


def page(found: dict[str, Any]) -> str:
    """The content of the JSON file as a page to read."""
    shares, few = found["repeats"], found["few"]
    error, rough = (100 * sqrt(NOMINAL * (1 - NOMINAL) / count) for count in (shares, few))
    suites = found["suites"]
    return f"""# How often gates and intervals err

Drawn data whose truth is known, judged by the gates themselves (`margin`, confidence 95%). False alarm: a student that
is worse by exactly the margin passes; 5% is promised. Failed: the same student fails, 5% too. Miss: a student as good
as its teacher does not pass; beside it what a power calculation (normal approximation) expects. Interval: 95% intervals
that do not hold the truth. McNemar: equal models called different at 5%; it is exact, so it errs on the safe side.
Seen: how often the smallest difference that the report says is seen is found; 80% is promised.

## Shares of right answers

{shares:,} draws a row: one standard error of 5% is {error:.2f} points.

{chr(10).join(_share_rows(found["shares"]))}

## Means over documents, by bootstrap

Differences with a heavy, skewed tail, {few:,} draws a row: one standard error of 5% is {rough:.1f} points. The margin
is three standard errors, at which a normal power calculation expects 8.8% misses.

{chr(10).join(_mean_rows(found["means"]))}

## Documents that share passages

In {100 * TOGETHER:.0f}% of the passages all documents are gained or lost as one; {few:,} draws a row. Beside each rate,
what it would be were the passages not known. Mean: the same numbers taken as a mean, by bootstrap over passages.

{chr(10).join(_passage_rows(found["passages"]))}

## Many comparisons

Suites of {suites["measures"]} comparisons of equal models on {suites["documents"]} documents each: at least one is
called a difference in {100 * suites["alone"]:.1f}% of {few:,} suites where each is taken by itself, and in
{100 * suites["holm"]:.1f}% after Holm; 5% is promised.

Made by `python -m benchmarks.gate_error_rates`, seed {found["seed"]}.
"""


def _share_rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    heads = ("false alarm", "failed", "miss (expected)", "equal fails", "interval", "McNemar", "seen")
    yield f"| documents | differ | margin | {' | '.join(heads)} |"
    yield "|--:|--:|--:|" + "--:|" * len(heads)
    for row in rows:
        told = f"{100 * row['minimum_detectable']:.1f} points: {100 * row['minimum_detectable_found']:.0f}%"
        miss = f"{_percent(row['miss'])} ({_percent(row['miss_nominal'])})"
        first = f"| {row['documents']:,} | {100 * row['discordance']:.0f}% | {100 * row['margin']:.0f} points "
        rates = [row[name] for name in ("equal_failed", "interval_misses", "mcnemar_of_equal")]
        alarms = f"{_percent(row['false_alarm'])} | {_percent(row['failed_at_margin'])}"
        yield f"{first}| {alarms} | {miss} | {' | '.join(map(_percent, rates))} | {told} |"


def _mean_rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| documents | false alarm | miss | interval | equal called different |"
    yield "|--:|--:|--:|--:|--:|"
    for row in rows:
        names = ("false_alarm", "miss", "interval_misses", "p_below_5_percent")
        yield f"| {row['documents']} | {' | '.join(_percent(row[name]) for name in names)} |"


def _passage_rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| passages | documents each | false alarm | interval | equal called different | mean, interval |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        names = ("false_alarm", "interval_misses", "p_below_5_percent", "mean_interval_misses")
        rates = (f"{_percent(row['known'][name])} ({_percent(row['unknown'][name])})" for name in names)
        yield f"| {row['passages']} | {row['size']} | {' | '.join(rates)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


if __name__ == "__main__":
    main()
