"""The door: fast help, exit codes, and words instead of tracebacks."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse import cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["verify", "--help"]])
def test_help_comes_without_importing_anything_heavy(arguments: list[str]):
    check = (
        "import sys\nfrom stillhouse.cli import command\n"
        f"try: command({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'prefect', 'yaml', 'rich', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: stillhouse" in done.stdout
    # 0.1 s on an idle machine; the promise is 0.6 s there.
    assert time.monotonic() - started < 5


def test_a_full_disk_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def full(recipe: Path, runs: Path) -> int:
        raise OSError(28, "No space left on device", "model.safetensors")

    monkeypatch.setattr(cli, "_run", full)
    assert cli.command(["run", "recipes/tiny.yaml"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "stillhouse: The disk is full (model.safetensors). Free some space (`stillhouse gc` helps) and retry: "
        "what is finished is kept.\n"
    )


def test_a_failure_of_its_own_kind_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(recipe: Path, runs: Path) -> int:
        raise RuntimeError("who knows")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(RuntimeError, match="who knows"):
        cli.command(["run", "recipes/tiny.yaml"])


def test_what_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.command(["verify", str(tmp_path / "nothing")]) == 2
    assert "no package at" in capsys.readouterr().err
    assert cli.command(["verify", str(tmp_path)]) == 1
    assert "manifest.json is missing" in capsys.readouterr().out


def test_what_has_no_lineage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.command(["explain", str(tmp_path)]) == 2
    assert "results.json" in capsys.readouterr().err
    for content in ("{}", "{broken", "[]"):
        (tmp_path / "results.json").write_text(content)
        assert cli.command(["explain", str(tmp_path)]) == 2
        assert "is not what a run writes" in capsys.readouterr().err
