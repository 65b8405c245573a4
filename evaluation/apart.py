"""Scoring in a process of its own what could end the process that it runs in.

ONNX Runtime and bitsandbytes are native code: where they crash, or the system is out of memory, their process is gone
without a word, and with it the scores of every other variant. In a process of their own they leave an error behind, and
the others go on. What was answered until then is kept (`evaluation.scored_requests`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.variant import holds_graph
from stillhouse import child
from stillhouse.freed_memory import freed_memory_kept
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.settings import Settings
from stillhouse.store import beside
from stillhouse.store.artifact import Inputs

Score = Callable[[Any, Inputs, Path], None]
"""A stage's work: settings, inputs, folder."""


def score_model(
    function: str, score: Score, settings: Settings, compute: Compute, inputs: Inputs, folder: Path
) -> None:
    """Do a stage's work on `inputs["model"]`: here, or in a process of its own what could end this one.

    Args:
        function: `package.module:function`, which hands its payload to `work_apart`.
        score: The work itself.
        settings: Of the stage.
        compute: Its part that says how many threads.
        inputs: Of the stage.
        folder: Of the stage.

    Raises:
        ChildError: If the model is a graph or quantized, and the process that asks it failed.
    """
    if _runs_apart(inputs["model"]):
        _run_apart(function, settings, compute, inputs, folder)
    else:
        _score(score, settings, inputs, folder)


def _score(score: Score, settings: Settings, inputs: Inputs, folder: Path) -> None:
    # Batch after batch needs memory of the same sizes: 72 documents of SmolLM2-135M took 11.5 s in the place of 13.0.
    with freed_memory_kept():
        score(settings, inputs, folder)


def _runs_apart(model: Path) -> bool:
    """Say whether native code other than torch's answers for a model."""
    from stillhouse.models.load import is_quantized

    return holds_graph(model) or is_quantized(model)


def _run_apart(function: str, settings: Settings, compute: Compute, inputs: Inputs, folder: Path) -> None:
    """Do a stage's work in a process of its own.

    Args:
        function: `package.module:function`, which hands its payload to `work_apart`.
        settings: Of the stage.
        compute: Its part that says how many threads.
        inputs: Of the stage.
        folder: Of the stage.

    Raises:
        ChildError: If the work failed, or its process ended; and what else `child.run` raises.
    """
    root = beside.root()
    payload = {
        "settings": settings.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in inputs.items()},
        "folder": str(folder),
        "store": None if root is None else str(root),
    }
    child.run(function, payload, threads=compute.threads)


def work_apart(score: Score, kind: type[Settings], payload: dict[str, Any]) -> dict[str, Any]:
    """Be the process: do the work that a payload of `_run_apart` describes."""
    inputs = {name: Path(path) for name, path in payload["inputs"].items()}
    with beside.offered(None if payload["store"] is None else Path(payload["store"])):
        _score(score, kind.model_validate(payload["settings"]), inputs, Path(payload["folder"]))
    return {}
