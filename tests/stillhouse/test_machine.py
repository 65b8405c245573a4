"""The lock that keeps a measurement alone, and memory as the system counts it."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from stillhouse import machine
from tests.conftest import ROOT


def test_a_measurement_waits_until_nobody_works(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_lock_file", lambda: tmp_path / "lock")
    order: list[str] = []
    works = threading.Event()

    def work() -> None:
        with machine.in_use():
            works.set()
            time.sleep(0.2)
            order.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    works.wait()
    with machine.in_use(), machine.measuring_alone():
        order.append("measured")
    thread.join()
    assert order == ["worked", "measured"]


def test_two_workers_do_not_wait_for_each_other(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_lock_file", lambda: tmp_path / "lock")
    with machine.in_use():
        thread = threading.Thread(target=lambda: machine.in_use().__enter__())
        thread.start()
        thread.join(timeout=2)
        assert not thread.is_alive()


def test_containers_of_one_machine_are_told_where_their_common_lock_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setenv(machine.LOCK_FOLDER, str(tmp_path / "shared"))
    with machine.in_use():
        (lock,) = (tmp_path / "shared").iterdir()
    assert lock.name.endswith(".lock")
    monkeypatch.setenv(machine.LOCK_FOLDER, "")
    assert machine._lock_file().parent == Path(tempfile.gettempdir())


_TOUCHING = """
from stillhouse import machine
machine.forget_peak_memory()
before = machine.peak_memory_bytes()
block = bytearray(128 << 20)
block[::4096] = b"x" * len(block[::4096])
print(before, machine.peak_memory_bytes())
"""


def test_peak_memory_follows_what_was_touched():
    """In a process of its own: of one that holds a gigabyte the system may take back more than is touched meanwhile."""
    told = subprocess.run([sys.executable, "-c", _TOUCHING], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = map(int, told.stdout.split())
    assert after >= before + (96 << 20)
