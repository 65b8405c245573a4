"""The one fault that every `make test` does: a terminal's flow is killed, and nobody is there to see it.

Beside it, a run whose process never comes up, as a container without a machine to run on.
"""

import sys
import time
from collections.abc import Iterator

import pytest
from house import ROOT, House, free_port, wait_until

SILENCE = 35
"""Seconds; longer than the 30 between two heartbeats, and shorter than the 90 that servers are set up with."""
START = 45
"""Seconds that a run may take to start; other than the above, so that each is seen to be the one that counts."""


@pytest.fixture
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that was only told to watch over runs."""
    house = House(tmp_path_factory.mktemp("house"), free_port())
    try:
        house.start_server()
        limits = ("--silence", str(SILENCE), "--start", str(START))
        done = house.call(sys.executable, "-m", "flows.set_up_server", *limits)
        assert done.returncode == 0, done.stderr
        yield house
    finally:
        house.close()


def test_a_killed_run_is_known_as_crashed(watching: House, tmp_path):
    never = start_nothing(watching)
    asked = time.monotonic()
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
    ended = watching.end(never, START + 60)
    assert ended["type"] == "CRASHED" and f"did not start within {START} seconds" in ended["message"]
    assert time.monotonic() - asked > START


def start_nothing(house: House) -> str:
    """A run that is said to be starting, and is not."""
    flow = house.post("/flows/", {"name": "sweep"})["id"]
    run = house.post("/flow_runs/", {"flow_id": flow, "parameters": {}})["id"]
    house.post(f"/flow_runs/{run}/set_state", {"state": {"type": "PENDING", "name": "Pending"}, "force": True})
    return run
