"""`stillhouse ui` itself: however it ends, nothing of it is left, and the next one tells the truth about its runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import ROOT, House, Journal, free_port, wait_until
from processes import descendants, gone_after, lives
from soak_results import Case

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Where the tests of this file start it, one after the other; the house only asks its server."""
    return House(tmp_path_factory.mktemp("ui"), free_port())


@pytest.fixture
def supervisor(place: House) -> Iterator[subprocess.Popen[bytes]]:
    process = start(place)
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def start(place: House) -> subprocess.Popen[bytes]:
    command = ("-m", "stillhouse.cli", "ui", "--port", str(place.port), "--home", str(place.home))
    (place.home / "ui.log").unlink(missing_ok=True)
    process = place.spawn("ui", sys.executable, *command)
    assert wait_until(lambda: "Ctrl-C" in place.log("ui"), 120), place.log("ui")
    done = place.call(sys.executable, "-c", f"import deploy; deploy.everything({str(ROOT)!r})")
    assert done.returncode == 0, done.stderr
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(
    place: House, supervisor: subprocess.Popen[bytes], case: Case, runs: Path, journal: Journal, how: signal.Signals
):
    case.fault = f"{how.name} to `stillhouse ui` while its worker's flow is in `in_child`"
    run = place.run("sweep/toy", runs=str(runs), seconds=6, seed=how.name)
    journal.wait_for("child begins")
    family = {supervisor.pid, *descendants(supervisor.pid)}
    assert len(family) == 5
    supervisor.send_signal(how)
    struck = time.monotonic()
    code = supervisor.wait(90)
    ended_after = time.monotonic() - struck
    left = gone_after(family, 90)
    assert left is not None, [Path(f"/proc/{pid}/cmdline").read_text() for pid in family if lives(pid)]
    case.left = f"{time.monotonic() - struck:.1f} s"
    if how is not signal.SIGKILL:
        assert code == 0 and left < 1, "it said that it had ended, and had not"
        assert ended_after < 60
    second = start(place)
    try:
        back = time.monotonic()
        ended = place.end(run, 130)
        case.ended, case.known_after_seconds = ended["name"], time.monotonic() - back
        assert ended["type"] == "CRASHED" and case.known_after_seconds < 120
        ended, _ = place.retry(run)
        assert ended["name"] == "Packaged" and len(journal.lines("alone begins")) == 1
        case.went_on = "`stillhouse ui` again, then Retry: 1 finished stage found"
    finally:
        second.terminate()
        second.wait(60)


def test_its_server_is_killed(
    place: House, supervisor: subprocess.Popen[bytes], case: Case, runs: Path, journal: Journal
):
    case.fault = "kill -9 of the server of `stillhouse ui` while its worker's flow is in `in_child`"
    place.run("sweep/toy", runs=str(runs), seconds=6, seed="server")
    journal.wait_for("child begins")
    family = {supervisor.pid, *descendants(supervisor.pid)}
    (server,) = (pid for pid in family if "server\0start" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(server, signal.SIGKILL)
    struck = time.monotonic()
    code = supervisor.wait(120)
    left = gone_after(family, 90)
    assert left is not None
    case.left = f"{time.monotonic() - struck:.1f} s"
    assert code == 1 and "the server ended by itself" in place.log("ui")
    case.ended = "it says that the server ended, ends the worker, and exits 1"
