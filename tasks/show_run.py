"""The results of a finished run in Prefect's UI."""

from pathlib import Path
from typing import Any


def show_run(folder: Path) -> None:
    """Show a run's report with its plots, gates, lineage and package as artifacts of the current flow run."""


def show_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Show the scores of an evaluation as a table."""
