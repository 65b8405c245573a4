import subprocess
from pathlib import Path

import pytest

from flows import environment


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A repository with a file of code and a page, as the project's own."""

    def run(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/page.md"):
        (tmp_path / name).write_text("1")
    run("init", "-q")
    run("add", ".")
    run("commit", "-qm", "all")
    monkeypatch.setattr(environment, "PROJECT_ROOT", tmp_path)
    return run


def test_a_commit_is_named_as_it_is_whatever_pages_a_study_has_written(git, tmp_path: Path):
    commit = git("rev-parse", "HEAD")
    (tmp_path / "docs/page.md").write_text("2")
    assert environment._commit() == commit
    (tmp_path / "code.py").write_text("2")
    assert environment._commit() == f"{commit}-dirty"
