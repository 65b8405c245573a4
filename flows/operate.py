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

from flows import server
from stillhouse.errors import InputError
from stillhouse.store.fingerprint import PROJECT_ROOT

_START_SECONDS = 120.0
"""How long a server may take to answer; a new database on a busy machine takes a quarter of it."""
_END_SECONDS = 20.0
"""How long a process, and those that it started, may take to end before they are killed."""
_GREETING = """
The UI        {address}
Elsewhere     export PREFECT_API_URL={address}/api    (then `stillhouse run` shows there too)
Logs          {home}/server.log and worker.log
Ctrl-C ends the server, the worker and the runs that it works on; what they finished is kept."""
Process = subprocess.Popen[bytes]


def operate(port: int, home: Path, accelerators: int) -> int:
    """Serve until Ctrl-C or SIGTERM, and leave no process behind.

    Args:
        port: Of the server, on loopback.
        home: Folder with the server's database and logs.
        accelerators: How many stages that train or measure may work at once.

    Returns:
        The exit code: 0 after Ctrl-C, 1 where the server or the worker ended by itself.

    Raises:
        InputError: If the port is taken, or the server does not start.
    """
    _refuse_taken(port)
    home.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **_settings(home.resolve(), f"{address}/api")}
    with _stopped_by_signal(), _running(home, environment, "server", "server", "start", "--port", str(port)) as served:
        _wait_for(served, f"{address}/api", home)
        _call(environment, sys.executable, "-m", "flows.set_up_server", "--accelerators", str(accelerators))
        _call(environment, *_prefect("deploy", "--all"))
        worker = ("worker", "start", "--pool", "stillhouse", "--name", f"worker-{socket.gethostname()}")
        with _running(home, environment, "worker", *worker) as working:
            print(_GREETING.format(address=address, home=home), flush=True)
            return _wait(served, working, home)


def _settings(home: Path, api: str) -> dict[str, str]:
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


def _prefect(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "prefect", *arguments)


def _call(environment: dict[str, str], *command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command[1:])} failed:\n{(done.stdout + done.stderr)[-2000:]}")


@contextmanager
def _running(home: Path, environment: dict[str, str], name: str, *arguments: str) -> Iterator[Process]:
    """A process of Prefect in a group of its own, so that Ctrl-C reaches it through us and in order."""
    with open(home / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            _prefect(*arguments),
            cwd=PROJECT_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: Process) -> None:
    """End a process and whatever it started: first as it wishes, and after a while at once."""
    process.terminate()
    ends = time.monotonic() + _END_SECONDS
    while process.poll() is None or _group_lives(process.pid):
        if time.monotonic() > ends:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    process.wait()


def _group_lives(group: int) -> bool:
    """Whether a flow that a worker started still works, and tells the server how it ends."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_for(served: Process, api: str, home: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while not server.answers(api):
        if served.poll() is not None or time.monotonic() > ends:
            raise InputError(f"the server did not start; {home}/server.log says why")
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
