"""The comparison of a sweep in the UI: a picture of hours of work, which must not end them."""

from pathlib import Path
from uuid import uuid4

import pytest

from tasks import show_comparison as module
from tasks.artifacts import Run
from tasks.show_comparison import show_comparison


class Log:
    """A run's logger that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, *parts: object, exc_info: bool = False) -> None:
        self.warnings.append(text % parts)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(module, "current_run", lambda: Run(uuid4(), None))
    monkeypatch.setattr(module, "get_run_logger", lambda: log)
    return log


def test_a_comparison_that_cannot_be_shown_is_a_warning(log: Log, tmp_path: Path):
    show_comparison(tmp_path)
    (warning,) = log.warnings
    assert "could not be shown" in warning and str(tmp_path / "comparison.html") in warning


def test_a_server_that_does_not_take_it_is_a_warning(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put = []
    monkeypatch.setattr(module.Board, "put", lambda board, run, page: put.append(page))
    folder = tmp_path / "sweep-my_own" / "20260101-000000-0a"
    folder.mkdir(parents=True)
    (folder / "comparison.md").write_text("# Runs\n\nA table.\n")
    show_comparison(folder)
    assert put[0].key == "sweep-my-own-comparison" and put[0].data.startswith("# Runs")
    assert "did not take" in log.warnings[0]
