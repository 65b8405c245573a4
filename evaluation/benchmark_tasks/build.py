"""A benchmark as lm-eval's task over the documents that are asked, built without a hub.

Where lm-eval has the task, its own file is included and only what must differ is written over it, so prompts and
metric stay lm-eval's. Nothing here reaches a hub: the documents lie in a file beside the description.
"""

from pathlib import Path
from typing import Any

import yaml

from evaluation.benchmark_files import (
    BenchmarkFile,
    ChoiceBenchmark,
    CodeBenchmark,
    GeneratedBenchmark,
    GenerationBenchmark,
    TextBenchmark,
    task_path,
)
from evaluation.benchmark_tasks.documents import Change, Documents, choose_documents

_SPLIT = "validation"


def load_task(file: BenchmarkFile, documents: int, folder: Path, *, change: Change | None = None) -> Any:
    """Build lm-eval's task over documents that are spread evenly over all that a benchmark holds.

    Args:
        file: The benchmark.
        documents: How many.
        folder: Made, and filled with the documents, the task's description and the cache of `datasets`.
        change: What is done to each document before the task sees it.
    """
    return build_task(file, choose_documents(file, documents, change=change), folder)


def build_task(file: BenchmarkFile, chosen: Documents, folder: Path) -> Any:
    """Build lm-eval's task over given documents; `folder` is filled as by `load_task`."""
    import pyarrow.parquet as parquet
    from lm_eval.tasks import TaskManager

    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "documents.parquet"
    parquet.write_table(chosen.table, place)
    included = task_path(file)
    description = {
        **({"include": str(included)} if included else {"metadata": {"version": 1}}),
        "task": file.name,
        "tag": None,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {_SPLIT: str(place)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": _SPLIT,
        "test_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
        **_of_kind(file),
    }
    (folder / f"{file.name}.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return manager.load([file.name])["tasks"][file.name]


def _of_kind(file: BenchmarkFile) -> dict[str, Any]:
    """What the kind adds to lm-eval's description, and the file's own keys over it."""
    match file:
        case ChoiceBenchmark(task_file=None):
            return _asked("multiple_choice", file.metric) | file.overrides
        case ChoiceBenchmark():
            return file.overrides
        case TextBenchmark():
            # `acc` says whether the end is the likeliest; its log-probability stands beside it. lm-eval's perplexities
            # overflow where a text is long, and their errors are drawn by a pool of processes.
            return _asked("loglikelihood", "acc") | file.overrides
        case GenerationBenchmark(task_file=None) | CodeBenchmark():
            return _asked("generate_until", "exact_match") | file.overrides
        case GenerationBenchmark():
            return file.overrides
        case GeneratedBenchmark():
            return _asked("generate_until", "exact_match") | {
                "doc_to_text": "text",
                "doc_to_target": "answer",
                "generation_kwargs": {
                    "until": list(file.until),
                    "max_gen_toks": file.new_tokens,
                    "do_sample": False,
                },
            }


def _asked(output_type: str, metric: str) -> dict[str, Any]:
    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True}]
    return {"output_type": output_type, "metric_list": metrics}
