"""The stage `evaluate_capability`: what a model can do, scored by lm-eval's own tasks on packaged documents.

Nothing is fetched. The documents are spread evenly over the benchmark's file, zero-shot, the same for every model,
so that scores can be compared.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from evaluation.benchmark_files import POOLED, BenchmarkFile, benchmark
from evaluation.lm_eval_tasks import Change, continuations, count_choices, load_task, quiet, right_answer, run_task
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs

logger = logging.getLogger(__name__)


class CapabilitySettings(Settings):
    """What is scored, and where."""

    benchmarks: tuple[str, ...]
    """Names of files in `evaluation/benchmarks/`."""
    documents: int = Field(ge=2)
    """Documents of each benchmark."""
    batch_size: PositiveInt
    """Requests scored side by side."""
    compute: Compute
    """Where, in which precision; log-probabilities are summed in fp32 in either."""


def capability_settings(asked: Evaluation, compute: Compute) -> CapabilitySettings:
    """The part of the section `evaluation` that decides scores."""
    return CapabilitySettings(
        benchmarks=asked.benchmarks, documents=asked.documents, batch_size=asked.batch_size, compute=compute
    )


def evaluate_capability(settings: CapabilitySettings, inputs: Inputs, folder: Path) -> None:
    """Score the model folder `inputs["model"]`; write `capability.json` and `facts.json`.

    `capability.json` holds for each benchmark the metric's value, its standard error, in the documents' order which
    answer was chosen and whether it was right, how many answers were cut to the model's length, and where the
    benchmark comes from. `facts.json` also has `pooled`, all documents together.

    Raises:
        InputError: If an answer is longer than what the model reads at once.
        ValueError: If a document's right answer is not one of its choices: data and task do not fit.
    """
    from evaluation.lm_eval_model import scorer_of

    files = [benchmark(name) for name in settings.benchmarks]
    scorer = scorer_of(inputs["model"], compute=settings.compute, batch_size=settings.batch_size)
    scores = {file.name: score_benchmark(scorer, file, settings.documents, folder / WORK / file.name) for file in files}
    facts = {name: {key: score[key] for key in ("value", "stderr", "n")} for name, score in scores.items()}
    (folder / "capability.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    pooled = {POOLED: pool(facts)} if facts else {}
    (folder / FACTS).write_text(json.dumps(facts | pooled, indent=1) + "\n", encoding="utf-8")


def score_benchmark(
    scorer: Any, file: BenchmarkFile, documents: int, folder: Path, *, change: Change | None = None
) -> dict[str, Any]:
    """Score one benchmark; see `evaluate_capability` for what is found and what is refused.

    Args:
        scorer: An lm-eval model with `tok_encode` and `max_length`.
        file: The benchmark.
        documents: How many of it.
        folder: For scratch files.
        change: What is done to each document before it is asked.
    """
    with quiet():
        task = load_task(file, documents, folder, change=change)
        _refuse_long_answers(scorer, task)
        answers = count_choices(task)
    found = run_task(scorer, task, f"answers {file.name}", requests=answers)
    figures, samples = found["figures"], found["samples"]
    return {
        "value": float(figures[f"{file.metric},none"]),
        "stderr": float(figures[f"{file.metric}_stderr,none"]),
        "n": len(samples),
        "metric": file.metric,
        "correct": [bool(sample[file.metric]) for sample in samples],
        "answers": [_chosen(task, file.metric, sample) for sample in samples],
        "licence": file.licence,
        "task_version": found["version"],
        "cut": _count_cut(scorer, file.name, samples),
    }


def pool(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Share of all documents that was answered rightly; its error, the benchmarks being fixed and documents drawn."""
    documents = sum(score["n"] for score in scores.values())
    variance = sum((score["n"] * score["stderr"]) ** 2 for score in scores.values())
    return {
        "value": sum(score["n"] * score["value"] for score in scores.values()) / documents,
        "stderr": math.sqrt(variance) / documents,
        "n": documents,
    }


def _chosen(task: Any, metric: str, sample: dict[str, Any]) -> int:
    """Which choice the metric takes as the model's answer, as lm-eval decides it."""
    choices = task.doc_to_choice(sample["doc"])
    sums = [log_prob for log_prob, _ in sample["filtered_resps"]]
    if metric == "acc_norm":
        sums = [log_prob / len(choice) for log_prob, choice in zip(sums, choices, strict=True)]
    chosen = sums.index(max(sums))
    assert bool(sample[metric]) == (chosen == right_answer(task, sample["doc"])), f"{metric} means another choice"
    return chosen


def _refuse_long_answers(scorer: Any, task: Any) -> None:
    """Refuse an answer that leaves no room for a question; lm-eval would stop at an assertion without words."""
    answers = (answer for document in task.eval_docs for answer in continuations(task, document))
    longest = max(len(scorer.tok_encode(answer)) for answer in answers)
    if longest > scorer.max_length:
        raise InputError(
            f"an answer of {task.config.task} has {longest} tokens, and the model reads {scorer.max_length} at once; "
            "leave the benchmark out of evaluation.benchmarks, or ask for fewer evaluation.documents"
        )


def _count_cut(scorer: Any, name: str, samples: list[dict[str, Any]]) -> int:
    """Count answers that the model could not read whole, and say so once; lm-eval says it of every one."""
    requests = [request for sample in samples for request in sample["arguments"]]
    longest = scorer.max_length + 1
    cut = sum(len(scorer.tok_encode(context + answer)) > longest for context, answer in requests)
    if cut:
        logger.warning(
            "%d of %d answers of %s are longer than the model's %d tokens; the beginnings of their questions were cut",
            cut,
            len(requests),
            name,
            scorer.max_length,
        )
    return cut
