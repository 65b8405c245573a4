"""Any other task that lm-eval knows, with data of its own: taken where a hub can be reached, its data pinned.

What a hub holds changes. The commit that a data set stands at is asked before any work, and stands in the settings of
the stage, so that scores of other data are another artifact.
"""

import re
from collections.abc import Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evaluation.benchmark_files import benchmark, spread_evenly
from evaluation.benchmark_tasks.guards import count_choices
from evaluation.decoding import Decoding
from evaluation.lm_eval_tasks import quiet, run_task
from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings

_TIMEOUT_S = 10.0
_LOCAL = ("json", "csv", "parquet", "arrow", "text")
"""What `datasets` reads files with; a task that says this fetches them by address, and no commit holds them."""


_SHARES = ("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "exact_match")
"""lm-eval's own metrics that are 1 or 0 of each document."""


class HubTask(Settings):
    """A task of lm-eval, and where its data stand."""

    name: str
    """lm-eval's name."""
    description: str
    """lm-eval's file of it, relative to its folder of tasks."""
    data_set: str
    """The hub's name of the data."""
    commit: str
    """What is read of it."""


def find_hub_tasks(names: Sequence[str]) -> tuple[HubTask, ...]:
    """Find tasks, and pin their data.

    Raises:
        InputError: If lm-eval has no such task, if it is none that can be pinned, if its metric is no mean over
            documents or it writes by settings that are not heeded here, or if no hub can be reached.
    """
    return tuple(_find(name) for name in names)


def load_hub_task(asked: HubTask, folder: Path) -> Any:
    """Open a task of lm-eval with its data, which a hub has; `folder` is for scratch files."""
    with quiet():
        return _load(asked, folder)


def score_hub_task(scorer: Any, asked: HubTask, task: Any, documents: int) -> dict[str, Any]:
    """Score a task on documents that are spread evenly over its data.

    Args:
        scorer: Our lm-eval model.
        asked: The task.
        task: As `load_hub_task` opened it.
        documents: How many of it; all where it holds fewer.

    Returns:
        As `evaluation.capability.score_benchmark`, the metric being bits per byte where the task has it and else the
        first that the task names. Which choice was taken is not told.

    Raises:
        InputError: If the metric is no mean over documents.
        ValueError: If a document's right answer is not one of its choices: data and task do not fit.
    """
    with quiet():
        split = task.config.test_split or task.config.validation_split
        rows = task.dataset[split]
        task.dataset[split] = rows.select(spread_evenly(len(rows), min(documents, len(rows))))
        requests = count_choices(task) if task.OUTPUT_TYPE == "multiple_choice" else len(task.eval_docs)
    found = run_task(scorer, task, f"answers {asked.name}", requests=requests)
    samples = found["samples"]
    metric, better = _metric_of(task.config.output_type, task.config.metric_list)
    value = float(next(figure for name, figure in found["figures"].items() if name.startswith(f"{metric},")))
    values, weights = _by_document(asked.name, metric, [sample.get(metric) for sample in samples])
    mean = sum(values) / (len(values) if weights is None else sum(weights))
    if not isclose(value, mean, rel_tol=1e-6, abs_tol=1e-9):
        raise InputError(
            f"the metric {metric} of {asked.name} is no mean over documents ({value:g}, and the mean is {mean:g}), so "
            f"its error cannot be told; leave {asked.name} out"
        )
    # By what the metric is, and not by what one model's answers happen to be: all models are compared in one way.
    is_share = metric in _SHARES and task.config.process_results is None
    lower = weights is not None or not better
    return {
        "value": value,
        "stderr": _standard_error(values, weights),
        "n": len(values),
        "metric": metric,
        "unit": "share of documents" if is_share else "bits per byte" if weights is not None else f"mean {metric}",
        "direction": "lower is better" if lower else "higher is better",
        "chance": None,
        "values": values,
        "weights": weights,
        "correct": [one == 1 for one in values] if is_share else None,
        "answers": None,
        "confidence": None,
        "clusters": None,
        "licence": f"as {asked.data_set} says on its hub",
        "task_version": found["version"],
        "cut": found["cut"],
    }


def _find(name: str) -> HubTask:
    from lm_eval.tasks._yaml_loader import load_yaml

    line = re.compile(rb"^task:\s*[\"']?" + re.escape(name.encode()) + rb"[\"']?\s*$", re.MULTILINE)
    file = next((path for path in sorted(_descriptions().rglob("*.yaml")) if line.search(path.read_bytes())), None)
    data_set = None if file is None else load_yaml(file, resolve_func=False).get("dataset_path")
    if file is None or not isinstance(data_set, str) or data_set in _LOCAL:
        raise InputError(
            f"{_refusal(name)}; a hub could only help with a single task whose data are a data set there, so that a "
            "commit of them can be pinned"
        )
    _refuse_unknown(name, load_yaml(file, resolve_func=False))
    commit = _commit_of(name, data_set)
    return HubTask(
        name=name, description=file.relative_to(_descriptions()).as_posix(), data_set=data_set, commit=commit
    )


def _refuse_unknown(name: str, described: Mapping[str, Any]) -> None:
    """Refuse what scoring would refuse, before a model is loaded; what functions of the task do is seen only there."""
    from lm_eval.api.registry import get_metric_aggregation

    kind = described.get("output_type", "generate_until")
    if kind == "generate_until":
        try:
            Decoding.of_request(described.get("generation_kwargs") or {})
        except ValueError as error:
            raise InputError(f"{name} cannot be asked here: {error}; leave {name} out") from None
    metric, _ = _metric_of(kind, described.get("metric_list"))
    stated: Mapping[str, Any] = next((one for one in described.get("metric_list") or () if one["metric"] == metric), {})
    # A path is a function of the task's own; of such nothing is known yet.
    known = metric in _metrics() or described.get("process_results") is not None or "/" in metric
    if not known:
        raise InputError(
            f"{name} has the metric {metric}, which lm-eval would fetch; it has itself {', '.join(_metrics())}; leave "
            f"{name} out"
        )
    aggregation: str = stated.get("aggregation") or str(getattr(get_metric_aggregation(metric), "__name__", "mean"))
    if metric != "bits_per_byte" and aggregation != "mean" and "/" not in aggregation:
        raise InputError(
            f"the metric {metric} of {name} is no mean over documents but {aggregation}, so its error cannot be told; "
            f"leave {name} out"
        )


def _metric_of(kind: str, stated: Sequence[Mapping[str, Any]] | None) -> tuple[str, bool]:
    """Return the metric that a task is scored by, and whether more of it is better."""
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY, is_higher_better

    names = [one["metric"] for one in stated] if stated else DEFAULT_METRIC_REGISTRY[kind]
    if "bits_per_byte" in names:
        return "bits_per_byte", False
    told = stated[0].get("higher_is_better") if stated else None
    return names[0], bool(is_higher_better(names[0]) if told is None else told)


def _metrics() -> list[str]:
    """Metrics that lm-eval has itself."""
    import lm_eval.api.metrics  # noqa: F401, which fills the registry
    from lm_eval.api.registry import METRIC_REGISTRY

    return sorted(METRIC_REGISTRY)


def _commit_of(name: str, data_set: str) -> str:
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(data_set, timeout=_TIMEOUT_S).sha
    except (OSError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{_refusal(name)}; and the hub did not give its data, {data_set}: {why}") from None
    assert commit is not None
    return commit


def _refusal(name: str) -> str:
    """What is said of a benchmark whose data no package here carries."""
    try:
        benchmark(name)
    except InputError as error:
        return str(error)
    raise AssertionError(f"{name} is packaged")


def _descriptions() -> Path:
    """lm-eval's folder of tasks."""
    import lm_eval

    return Path(str(lm_eval.__file__)).parent / "tasks"


def _load(asked: HubTask, folder: Path) -> Any:
    """Build the task as lm-eval describes it, its data at the pinned commit."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    folder.mkdir(parents=True, exist_ok=True)
    file = _descriptions() / asked.description
    described = load_yaml(file, resolve_func=False)
    content = {
        "include": str(file),
        "task": asked.name,
        "tag": None,
        "dataset_kwargs": {**(described.get("dataset_kwargs") or {}), "revision": asked.commit},
    }
    if described.get("filter_list"):
        # With several, each document would stand there several times.
        content["filter_list"] = described["filter_list"][:1]
    (folder / f"{asked.name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return manager.load([asked.name])["tasks"][asked.name]


def _by_document(name: str, metric: str, found: Sequence[Any]) -> tuple[list[float], list[int] | None]:
    """Return one number a document, and what their sum is divided by where it is not their count."""
    if metric == "bits_per_byte":
        return [-log_prob / np.log(2) for log_prob, _ in found], [num_bytes for _, num_bytes in found]
    try:
        return [float(value) for value in found], None
    except (TypeError, ValueError):
        raise InputError(
            f"the metric {metric} of {name} is no mean over documents, so its error cannot be told; leave {name} out"
        ) from None


def _standard_error(values: Sequence[float], weights: Sequence[int] | None) -> float:
    """Standard error of the mean, or of a ratio of sums by linearization (Cochran, 1977, section 6.4)."""
    numbers = np.asarray(values)
    shares = np.ones(len(numbers)) if weights is None else np.asarray(weights, dtype=np.float64)
    rest = numbers - numbers.sum() / shares.sum() * shares
    count = len(numbers)
    return float(np.sqrt((rest**2).sum() * count / max(1, count - 1)) / shares.sum())
