"""One command for a laptop: a Prefect server on loopback, the deployments, and a worker; Ctrl-C ends them all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

from flows import server
from stillhouse.errors import InputError
from stillhouse.store.fingerprint import PROJECT_ROOT

_START_SECONDS = 120.0
"""How long a server may take to answer; a new database on a busy machine takes a quarter of it."""
START_SECONDS = 90
"""How long a run's process may take to start: here it fetches no image."""
_END_SECONDS = 45.0
"""How long a process may take to end before it is killed; a worker grants its flows 30 of them."""
_GREETING = """
The UI        {address}
Elsewhere     export PREFECT_API_URL={address}/api    (then `stillhouse run` shows there too)
Logs          {home}/server.log and worker.log
Ctrl-C ends the server, the worker and the runs that it works on; what they finished is kept."""
_ENDED = "It ended with `stillhouse ui`. Retry: it goes on from what is finished."
_NOT_OVER = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING]))
)
Process = subprocess.Popen[bytes]


def operate(port: int, home: Path, accelerators: int | None) -> int:
    """Serve until Ctrl-C or SIGTERM, and leave no process behind.

    Args:
        port: Of the server, on loopback.
        home: Folder with the server's database and logs.
        accelerators: How many stages that train or measure may work at once; left out, as many as last time, or one.

    Returns:
        The exit code: 0 after Ctrl-C, 1 where the server or the worker ended by itself.

    Raises:
        InputError: If the port is taken, or the server does not start.
    """
    _refuse_taken(port)
    home.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **settings(home.resolve(), f"{address}/api")}
    with _stopped_by_signal(), _running(home, environment, "server", "server", "start", "--port", str(port)) as served:
        _wait_for(served, f"{address}/api", home)
        _settle(f"{address}/api")
        slots = () if accelerators is None else ("--accelerators", str(accelerators))
        _call(environment, sys.executable, "-m", "flows.set_up_server", "--start", str(START_SECONDS), *slots)
        _call(environment, sys.executable, "-m", "prefect", "deploy", "--all")
        worker = ("worker", "start", "--pool", "stillhouse", "--name", f"worker-{socket.gethostname()}")
        try:
            with _running(home, environment, "worker", *worker) as working:
                print(_GREETING.format(address=address, home=home), flush=True)
                return _wait(served, working, home)
        finally:
            _settle(f"{address}/api")


def settings(home: Path, api: str) -> dict[str, str]:
    """Of a server on this machine, its worker, and what they run."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLI_PROMPT": "false",
        # The store alone remembers: a result that Prefect kept would outlive its folder.
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        # Runs of the worker take it from the deployment; this is for what is started in another way.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # Who holds an accelerator outlives a restart: in memory, the slot of before would stay taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        # So does which run owes a heartbeat: a run that died with the machine is known as crashed a day later too.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P30D",
        "PREFECT_WORKER_QUERY_SECONDS": "5",
    }


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} cannot be used ({error}); end what listens there, or take another, "
                f"as `stillhouse ui --port {port + 1}` or `make ui PORT={port + 1}`"
            ) from None


def _call(environment: dict[str, str], *command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command[1:])} failed:\n{(done.stdout + done.stderr)[-2000:]}")


@contextmanager
def _running(home: Path, environment: dict[str, str], name: str, *arguments: str) -> Iterator[Process]:
    """A process of Prefect in a group of its own, so that Ctrl-C reaches it through us and in order.

    It holds a pipe to us, and ends when that closes: after kill -9 nobody else could end it.
    """
    with open(home / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            (sys.executable, "-m", "flows.tethered", *arguments),
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: Process) -> None:
    """End a process, and with it what it started: first as it wishes, and after a while at once."""
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _settle(api: str) -> None:
    """Say of runs of a worker on this machine that are no more that they crashed: a worker that ends does not."""
    # A server that does not answer hears it from its automation, when it is back.
    with suppress(httpx.HTTPError), SyncPrefectClient(api) as client:
        for run in client.read_flow_runs(flow_run_filter=_NOT_OVER):
            if run.infrastructure_pid and not _lives(run.infrastructure_pid):
                client.set_flow_run_state(run.id, Crashed(message=_ENDED))


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _wait_for(served: Process, api: str, home: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while (reason := server.why_unusable(api)) is not None:
        if served.poll() is not None or time.monotonic() > ends:
            raise InputError(f"the server did not start ({reason}); {home}/server.log says more")
        time.sleep(0.5)


def _wait(served: Process, working: Process, home: Path) -> int:
    try:
        while True:
            for name, process in (("server", served), ("worker", working)):
                if process.poll() is not None:
                    print(f"the {name} ended by itself; {home}/{name}.log says why", file=sys.stderr)
                    return 1
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nends the worker and the server", flush=True)
        return 0


@contextmanager
def _stopped_by_signal() -> Iterator[None]:
    """End in order on SIGTERM too, as after Ctrl-C; a shell that starts us with `&` makes us deaf to the latter."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
