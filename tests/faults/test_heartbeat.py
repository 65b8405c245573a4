"""The one fault that every `make test` does: a terminal's flow is killed, and nobody is there to see it."""

import sys
import time
from collections.abc import Iterator

import pytest
from house import ROOT, House, free_port, wait_until

SILENCE = 35
"""Seconds; longer than the 30 between two heartbeats, and shorter than the 90 that servers are set up with."""


@pytest.fixture
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that was only told to watch over runs."""
    house = House(tmp_path_factory.mktemp("house"), free_port())
    try:
        house.start_server()
        done = house.call(sys.executable, "-m", "flows.set_up_server", "--silence", str(SILENCE))
        assert done.returncode == 0, done.stderr
        yield house
    finally:
        house.close()


def test_a_killed_run_is_known_as_crashed(watching: House, tmp_path):
    command = ("-m", "stillhouse.cli", "run", str(ROOT / "recipes" / "tiny.yaml"), "--runs", str(tmp_path))
    terminal = watching.in_terminal("terminal", *command)
    assert wait_until(watching.beats, 60), watching.log("terminal")
    (run,) = watching.runs_of("compress")
    assert run["state"]["type"] == "RUNNING"
    terminal.kill()
    struck = time.monotonic()
    terminal.wait()
    ended = watching.end(run["id"], 100)
    assert ended["type"] == "CRASHED" and time.monotonic() - struck < 100
    assert "Retry: it goes on from what is finished" in ended["message"]
