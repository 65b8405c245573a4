"""A Prefect server and workers of the tests' own, each in a process that can be killed by itself.

They are set up as `stillhouse ui` sets up its own: the same settings, work pool, limit and automation.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from flows import operate

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
Process = subprocess.Popen[bytes]


@dataclass
class House:
    """A server, its workers, and what one asks of them."""

    home: Path
    port: int
    server: Process | None = None
    workers: list[Process] = field(default_factory=list)
    terminals: list[Process] = field(default_factory=list)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join((str(HERE), str(ROOT)))
        # The tests' machine-wide lock is their own: other people's runs must not hold up toys.
        own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.home)}
        return {**os.environ, **operate.settings(self.home, self.api), **own}

    def start_server(self) -> None:
        self.server = self.spawn("server", sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port))
        wait_until(self.is_there, 120)

    def is_there(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def start_worker(self, name: str = "worker", folder: Path = ROOT) -> Process:
        command = (sys.executable, "-m", "prefect", "worker", "start", "--pool", "stillhouse", "--name", name)
        worker = self.spawn(name, *command, folder=folder)
        self.workers.append(worker)
        return worker

    def spawn(self, name: str, *command: str, folder: Path = ROOT) -> Process:
        with open(self.home / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # A shell that starts the tests in the background makes all that they start deaf to Ctrl-C, and with
                # it a worker to SIGTERM, which it turns into the same.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def call(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, env=self.environment, input=given, capture_output=True, text=True)

    def in_terminal(self, name: str, *command: str) -> Process:
        process = self.spawn(name, sys.executable, *command)
        self.terminals.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(errors="replace")

    def keep_one_worker(self) -> None:
        """See to it that exactly one works, so that a test knows which one takes its run."""
        living = [worker for worker in self.workers if worker.poll() is None]
        for worker in living[1:]:
            worker.terminate()
            worker.wait(60)
        self.workers = living[:1]
        if not self.workers:
            self.start_worker()

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def close(self) -> None:
        for process in (*self.terminals, *self.workers, *filter(None, [self.server])):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    # What the UI asks of the server.

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.send(path, body)
        answer.raise_for_status()
        return answer.json()

    def send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Send what the UI sends; SQLite's `database is locked` is an answer that says to ask again."""
        for _ in range(10):
            answer = httpx.post(f"{self.api}{path}", json=body, timeout=60)
            if answer.status_code != 503:
                break
            time.sleep(1)
        return answer

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.api}{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, deployment: str, **parameters: Any) -> str:
        """Custom run."""
        answer = self.ask_to_run(deployment, parameters)
        answer.raise_for_status()
        return answer.json()["id"]

    def ask_to_run(self, deployment: str, parameters: dict[str, Any]) -> httpx.Response:
        """The same, with whatever the server answers."""
        found = self.get(f"/deployments/name/{deployment}")["id"]
        content = {"parameters": parameters, "state": {"type": "SCHEDULED", "message": "Run from the UI"}}
        return self.send(f"/deployments/{found}/create_flow_run", content)

    def retry(self, run: str, seconds: float = 180) -> tuple[dict[str, Any], int]:
        """Press Retry, and give the state that the run ends in, and how often it had to be pressed.

        A worker reports a crash twice, some seconds apart, and its second report undoes a Retry between the two.
        """
        presses = 0
        ended: dict[str, Any] = {}
        while presses < 2 and (not presses or "infrastructure exited" in ended["message"]):
            presses += 1
            state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
            self.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
            ended = self.end(run, seconds)
        return ended, presses

    def cancel(self, run: str) -> None:
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})

    def state(self, run: str) -> dict[str, Any]:
        return self.get(f"/flow_runs/{run}")["state"]

    def states(self, run: str) -> list[str]:
        """Every state that a run went through."""
        found = self.get(f"/flow_run_states/?flow_run_id={run}")
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def task_runs(self, run: str) -> list[dict[str, Any]]:
        return self.post("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        return self.post("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_DESC"})

    def end(self, run: str, seconds: float = 120) -> dict[str, Any]:
        """The state that a run ends in."""

        def ended() -> dict[str, Any] | None:
            state = self.state(run)
            return state if state["type"] in ENDS else None

        found = wait_until(ended, seconds)
        assert found, f"run {run} is {self.state(run)}"
        return found

    def beats(self) -> int:
        """How many heartbeats the server heard."""
        return self.post("/events/filter", {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}})["total"]

    def slots_taken(self) -> int:
        return self.get("/v2/concurrency_limits/tag:accelerator")["active_slots"]


@dataclass(frozen=True)
class Journal:
    """What the toy's stages told."""

    path: Path

    def lines(self, what: str | None = None) -> list[dict[str, Any]]:
        text = self.path.read_text() if self.path.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in found if what in (None, line["what"])]

    def wait_for(self, what: str, times: int = 1, seconds: float = 90) -> dict[str, Any]:
        found = wait_until(lambda: self.lines(what)[times - 1 :], seconds)
        assert found, f"{what!r} was not told {times} times; told was {self.lines()}"
        return found[0]


def wait_until(look: Callable[[], Any], seconds: float, every: float = 0.1) -> Any:
    """What `look` gives as soon as that is something, or what it gave last."""
    ends = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < ends:
        time.sleep(every)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
