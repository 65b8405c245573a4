"""One way to run work in a process of its own: progress comes out, a kill goes in, and it never outlives its parent.

A fresh interpreter runs `package.module:function` on a JSON payload and hands back a JSON result. It imports only
what the function imports, so a measurement is not of this process's libraries and memory. It watches its standard
input, which the parent holds open: when the parent is gone, even by kill -9, the pipe closes and the child ends.

Run by `run`, as `python -m stillhouse.child package.module:function`.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from stillhouse import machine, progress
from stillhouse.errors import InputError, Unavailable

_ROOT = Path(__file__).resolve().parents[1]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_running: set[subprocess.Popen[str]] = set()


class ChildError(RuntimeError):
    """The work in the child failed; the message holds what it said."""


class ChildKilled(ChildError):
    """The child was killed before it could say anything; by the system, most often for its memory."""


class Together:
    """Processes of which none goes on without the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self._ended = False

    def add(self, process: subprocess.Popen[str]) -> None:
        """Take one in; it is ended at once where another has failed already."""
        with self._lock:
            self._processes.append(process)
            if self._ended:
                process.kill()

    def end(self) -> None:
        """End all of them, and those that are still to come."""
        with self._lock:
            self._ended = True
            for process in self._processes:
                process.kill()


def run(
    function: str,
    payload: dict[str, Any],
    *,
    threads: int | None = None,
    environment: Mapping[str, str] | None = None,
    together: Together | None = None,
) -> dict[str, Any]:
    """Run `package.module:function` in a fresh process and give its result.

    Args:
        function: A function of one JSON object that returns a JSON object.
        payload: What it is given; folders and files go as strings.
        threads: Size of the numeric libraries' thread pools in the child.
        environment: Variables that the child has besides this process's.
        together: Processes that are ended if this one fails.

    Raises:
        InputError, Unavailable: If the function raised it.
        OSError: If the system refused it something, as space on a disk; with the number and file of the child's.
        MemoryError: If memory ran out, on the processor's side or the accelerator's.
        ChildKilled: If the process was killed.
        ChildError: If it raised anything else, or the process ended otherwise.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "stillhouse.child", function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**_environment(threads), **(environment or {})},
        )
        _running.add(process)
        if together is not None:
            together.add(process)
        try:
            assert process.stdin is not None and process.stdout is not None
            answer = _talk(process.stdin, process.stdout, payload)
            if answer is None:
                process.wait()
                errors.seek(0)
                kind = ChildKilled if process.returncode == -signal.SIGKILL else ChildError
                raise kind(_obituary(function, process.returncode, errors.read()))
            return _result(function, answer)
        except BaseException:
            if together is not None:
                together.end()
            raise
        finally:
            process.kill()
            process.wait()
            _running.discard(process)


def end_all() -> None:
    """End every process that some thread of this one waits for; each of those threads gets a `ChildError`."""
    for process in list(_running):
        process.kill()


def _environment(threads: int | None) -> dict[str, str]:
    pools = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, **pools, "PYTHONPATH": path}


def _talk(stdin: IO[str], stdout: IO[str], payload: dict[str, Any]) -> dict[str, Any] | None:
    """Send the payload, pass progress on, and give the message that ends the work; `None` if the child died."""
    try:
        stdin.write(json.dumps(payload) + "\n")
        stdin.flush()
    except BrokenPipeError:
        return None
    for line in stdout:
        message: dict[str, Any] = json.loads(line)
        if "progress" not in message:
            return message
        said = message["progress"]
        # A child that runs whole stages says which; its parent's stage is the child.
        note = f"{said['stage']}: {said['note']}" if said["stage"] else said["note"]
        progress.step(note, said["done"], said["total"], said["figures"])
    return None


def _result(function: str, answer: dict[str, Any]) -> dict[str, Any]:
    machine.note_child_memory(answer["peak_memory_bytes"])
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if answer["error"] == "InputError":
        raise InputError(answer["message"])
    if answer["error"] == "Unavailable":
        raise Unavailable(answer["message"])
    whole = ChildError(f"{function} failed in its own process: {answer['message']}\n{answer['traceback']}")
    if answer["errno"] is not None:
        raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["filename"]) from whole
    if answer["of_memory"]:
        raise MemoryError(answer["message"]) from whole
    raise whole


def _obituary(function: str, code: int, errors: str) -> str:
    killed = f"was killed by signal {-code} (9 is most often the system out of memory)"
    reason = killed if code < 0 else f"exited {code}"
    return f"the process of {function} {reason}; it last said: {errors.strip()[-800:] or 'nothing'}"


def main() -> None:
    """Be the child: read the payload, run the function, write one message that ends the work."""
    # Libraries print; the protocol keeps the real standard output to itself and they get standard error.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    payload = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    module, _, name = sys.argv[1].partition(":")
    with progress.listening(lambda said: _send(channel, {"progress": asdict(said)})):
        try:
            answer = {"result": getattr(importlib.import_module(module), name)(payload)}
        except BaseException as error:
            answer = _told(error)
    _send(channel, answer | {"peak_memory_bytes": machine.peak_memory_bytes()})


def _told(error: BaseException) -> dict[str, Any]:
    """An error as the parent is told of it: words, and what it takes to raise one that says the same."""
    number = error.errno if isinstance(error, OSError) else None
    filename = error.filename if number is not None and isinstance(error, OSError) else None
    return {
        "error": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "traceback": "".join(traceback.format_exception(error)[-4:]),
        # Libraries put things of their own into both.
        "errno": number if isinstance(number, int) else None,
        "filename": None if filename is None else str(filename),
        # torch has a class of its own for accelerators; this module does not import torch.
        "of_memory": isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError",
    }


def _send(channel: IO[str], message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _die_with_parent() -> None:
    # The file descriptor itself: nothing follows the payload, so what Python has buffered does not matter.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
