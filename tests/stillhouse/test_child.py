"""A child process: results out, errors out, progress out, and no life after its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stillhouse import child, progress
from stillhouse.errors import InputError, Unavailable

FUNCTIONS = """
import os, sys, time
from stillhouse import progress
from stillhouse.errors import InputError, Unavailable

def double(payload):
    print("noise on standard output")
    progress.step("half way", 1, 2, {"loss": 0.5})
    return {"value": payload["value"] * 2, "pid": os.getpid(), "torch": "torch" in sys.modules}

def refuse(payload):
    raise InputError("not like this")

def lack(payload):
    raise Unavailable("not here")

def fail(payload):
    raise RuntimeError("it broke")

def fill_the_disk(payload):
    raise OSError(28, "No space left on device", "model.safetensors")

def miss_a_file(payload):
    open("nowhere/at/all")

def need_too_much(payload):
    raise MemoryError(payload["says"])

def need_too_much_of_an_accelerator(payload):
    class OutOfMemoryError(RuntimeError):
        pass
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

def die(payload):
    os.kill(os.getpid(), 9)

def write_pid_and_sleep(payload):
    with open(payload["file"], "w") as file:
        file.write(str(os.getpid()))
    time.sleep(120)
"""


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy_functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_the_result_and_the_progress_come_back():
    said: list[progress.Progress] = []
    with progress.listening(said.append):
        result = child.run("toy_functions:double", {"value": 21})
    assert result["value"] == 42
    assert result["pid"] != os.getpid()
    assert not result["torch"]
    assert [(step.note, step.done, step.figures) for step in said] == [("half way", 1, {"loss": 0.5})]


def test_a_refusal_stays_a_refusal():
    with pytest.raises(InputError, match="not like this"):
        child.run("toy_functions:refuse", {})


def test_what_cannot_be_had_stays_so():
    with pytest.raises(Unavailable, match="not here"):
        child.run("toy_functions:lack", {})


def test_a_failure_brings_its_message():
    with pytest.raises(child.ChildError, match="it broke"):
        child.run("toy_functions:fail", {})


def test_what_the_system_refuses_stays_an_error_of_the_system():
    with pytest.raises(OSError) as full:
        child.run("toy_functions:fill_the_disk", {})
    assert (full.value.errno, full.value.filename) == (28, "model.safetensors")
    assert "in fill_the_disk" in str(full.value.__cause__), "where it happened is kept"
    with pytest.raises(FileNotFoundError, match="nowhere/at/all"):
        child.run("toy_functions:miss_a_file", {})


@pytest.mark.parametrize("function", ["need_too_much", "need_too_much_of_an_accelerator"])
def test_a_lack_of_memory_stays_one(function: str):
    with pytest.raises(MemoryError, match="out of memory"):
        child.run(f"toy_functions:{function}", {"says": "out of memory"})


def test_a_death_is_named():
    with pytest.raises(child.ChildKilled, match="signal 9"):
        child.run("toy_functions:die", {})


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().split(")")[1].split()[0] != "Z"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_does_not_outlive_its_parent(functions: Path, how: signal.Signals):
    pid_file = functions / "pid"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from stillhouse import child; "
            f"child.run('toy_functions:write_pid_and_sleep', {{'file': {str(pid_file)!r}}})",
        ],
        env={**os.environ, "PYTHONPATH": f"{functions}:{os.getcwd()}"},
    )
    while not pid_file.exists() or not pid_file.read_text():
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    assert alive(pid)
    parent.send_signal(how)
    parent.wait()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)
