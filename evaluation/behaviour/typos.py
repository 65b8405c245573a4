"""Robustness: a benchmark's questions asked again with typing errors in them, its answers left as they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.behaviour.measures import About, Direction, Measure, mean_measure
from evaluation.behaviour.typing_errors import SHARE, SHORTEST, add_typing_errors
from evaluation.benchmark_files import BenchmarkFile, asked_of, benchmark
from evaluation.capability import score_benchmark
from stillhouse.recipe.compute import Compute

_METHOD = (
    f"lm-eval's {{name}}, with an error (neighbouring key, swap, omission, doubling) in {SHARE:.0%} of its questions' "
    f"words of {SHORTEST} letters or more; the same errors for every model"
)


def measure_typos(
    scorer: Any, name: str, capability: Path, folder: Path, *, documents: int, compute: Compute
) -> dict[str, Measure]:
    """Return accuracy under typing errors, the accuracy that they cost, and how many answers they changed.

    Args:
        scorer: An lm-eval model.
        name: Of a benchmark that the model has answered without errors.
        capability: Those answers: what `evaluate_capability` made.
        folder: For scratch files.
        documents: As many as were asked there.
        compute: Its seed decides the errors.

    Raises:
        ValueError: If the answers without errors are of another number of documents.
    """
    clean = json.loads((capability / "capability.json").read_text(encoding="utf-8"))[name]
    file = benchmark(name)
    if clean["n"] != asked_of(file, documents):
        raise ValueError(f"{name} was answered on {clean['n']} documents, and {documents} are asked with errors")

    def change(document: dict[str, Any], number: int) -> Mapping[str, str]:
        return {
            column: add_typing_errors(document[column], seed=compute.seed, document=number) for column in file.question
        }

    typed = score_benchmark(scorer, file, documents, folder, change=change)
    pairs = list(zip(clean["correct"], typed["correct"], strict=True))
    answers = list(zip(clean["answers"], typed["answers"], strict=True))
    clusters = clean["clusters"]
    return {
        f"typos_{name}": mean_measure(
            [float(right) for right in typed["correct"]],
            _about(file, f"{name} with typing errors in the questions", "share of documents", "higher is better"),
            clusters,
            cut=typed["cut"],
        ),
        f"typos_{name}_accuracy_lost": mean_measure(
            [float(before) - float(after) for before, after in pairs],
            _about(file, f"{name} answered rightly, less the same with typing errors", "-1 to 1", "lower is better"),
            clusters,
            cut=typed["cut"],
        ),
        f"typos_{name}_answers_changed": mean_measure(
            [float(before != after) for before, after in answers],
            _about(file, f"{name} answers that typing errors changed", "share of documents", "lower is better"),
            clusters,
            cut=typed["cut"],
        ),
    }


def _about(file: BenchmarkFile, description: str, unit: str, direction: Direction) -> About:
    return About(description, unit, direction, file.licence, _METHOD.format(name=file.name))
