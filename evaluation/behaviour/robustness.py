"""Robustness: benchmarks asked again in other words, case, company and length, their answers left as they are.

Each kind of change is compared with the same documents asked as they are. `typos` is a suite of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.behaviour.measures import About, Direction, Measure, joined_clusters, mean_measure
from evaluation.behaviour.question_changes import (
    DESCRIPTIONS,
    KINDS,
    TEMPLATES,
    ChangeKind,
    change_question,
    filler_of,
    kinds_of,
    place_before_rotation,
)
from evaluation.benchmark_files import ChoiceBenchmark, benchmark
from evaluation.capability import score_benchmark
from stillhouse.recipe.evaluation import Behaviour

ROOM_TOKENS = 256
"""Left for question and answers where much text stands before them."""


@dataclass(frozen=True)
class _Asked:
    """What a kind of change did to one benchmark, document by document."""

    changed: list[float]
    """1 where another choice was taken."""
    lost: list[float]
    """1 where the answer was right and is no longer, -1 where it is the other way round."""
    clusters: list[int] | None
    cut: int
    """Answers whose question was cut to fit the context."""


def measure_robustness(scorer: Any, behaviour: Behaviour, folder: Path) -> dict[str, Measure]:
    """Return for each kind of change the share of answers that change and the accuracy lost, benchmarks together.

    Args:
        scorer: An lm-eval model.
        behaviour: Which benchmarks, how many documents, and how long a long question is.
        folder: For scratch files.
    """
    names, documents = behaviour.robustness_benchmarks, behaviour.robustness_documents
    filler = _filler(scorer, behaviour.long_tokens)
    asked: dict[ChangeKind, list[_Asked]] = {kind: [] for kind in KINDS}
    for name in names:
        file = benchmark(name)
        assert isinstance(file, ChoiceBenchmark), f"{name} has no choices"
        before = score_benchmark(scorer, file, documents, folder / name / "unchanged")
        for kind in kinds_of(name):
            after = _score_changed(scorer, file, kind, documents, folder / name / kind, filler)
            asked[kind].append(_compare(before, after, kind, _choices(file.name)))
    licence = ", ".join(sorted({benchmark(name).licence for name in names}))
    measures: dict[str, Measure] = {}
    for kind, found in asked.items():
        if found:
            measures |= _measures(kind, found, [name for name in names if kind in kinds_of(name)], licence)
    return measures


def _score_changed(
    scorer: Any, file: ChoiceBenchmark, kind: ChangeKind, documents: int, folder: Path, filler: str
) -> dict[str, Any]:
    if kind in ("template_plain", "template_chatty"):
        template = TEMPLATES[file.name][kind == "template_chatty"]
        other = file.model_copy(update={"overrides": {**file.overrides, "doc_to_text": template}})
        return score_benchmark(scorer, other, documents, folder)

    def change(row: dict[str, Any], number: int) -> Mapping[str, Any]:
        return change_question(kind, row, number, columns=file.question, filler=filler)

    return score_benchmark(scorer, file, documents, folder, change=change)


def _choices(name: str) -> int:
    """Choices of the benchmarks that show them in the prompt."""
    return 5 if name == "commonsense_qa" else 4


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], kind: ChangeKind, choices: int) -> _Asked:
    answers = after["answers"]
    if kind == "option_order":
        answers = [place_before_rotation(place, choices) for place in answers]
    return _Asked(
        changed=[float(old != new) for old, new in zip(before["answers"], answers, strict=True)],
        lost=[float(old) - float(new) for old, new in zip(before["correct"], after["correct"], strict=True)],
        clusters=before.get("clusters"),
        cut=after["cut"],
    )


def _measures(kind: ChangeKind, found: Sequence[_Asked], names: Sequence[str], licence: str) -> dict[str, Measure]:
    cut = sum(each.cut for each in found)
    method = f"lm-eval's {' and '.join(names)} asked again, {DESCRIPTIONS[kind]}; the same documents as they are beside"
    if cut:
        method += f"; {cut} questions were cut at their beginning to fit the context"
    parts: tuple[tuple[str, list[list[float]], str, str, Direction], ...] = (
        ("answers_changed", [each.changed for each in found], "answers changed", "share of documents", _LOW),
        ("accuracy_lost", [each.lost for each in found], "accuracy lost", "-1 to 1", _LOW),
    )
    clusters = joined_clusters([(each.clusters, len(each.changed)) for each in found])
    return {
        f"robustness_{kind}_{name}": mean_measure(
            sum(values, []),
            About(f"{words}: {DESCRIPTIONS[kind]}", unit, direction, licence, method),
            clusters,
            cut=cut,
        )
        for name, values, words, unit, direction in parts
    }


_LOW: Direction = "lower is better"


def _filler(scorer: Any, wanted_tokens: int) -> str:
    """Return as many sentences as fit the length asked for and the model's context, at least one."""
    most = min(wanted_tokens, max(scorer.max_length - ROOM_TOKENS, scorer.max_length // 2))
    sample = 8
    each = len(scorer.tok_encode(filler_of(sample))) / sample
    return filler_of(max(1, int(most / each)))
