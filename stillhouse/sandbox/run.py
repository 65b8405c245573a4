"""Runs a program that a model wrote, in a process that can do little: see `stillhouse.sandbox.child`.

What this does not stop: a program may read every file that the user may read (it cannot pass anything on: no sockets,
no files, no processes, an output that goes nowhere); it may look for the word by which its process says that it
passed, and so cheat its own test; a fault of the kernel or of the interpreter is no barrier to a program written to
use it. It is for the programs of a model under test, not for those of an attacker.
"""

import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import InputError

_LOOK_SECONDS = 0.25
"""How often a program that has not ended is looked at."""


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    wall_seconds: float = 60.0
    """From its start; then its process is killed. A busy machine must fail no program."""
    cpu_seconds: int = 5
    """Of processor time."""
    asleep_seconds: float = 5.0
    """Without a break in which it waits for something other than a processor."""
    memory_bytes: int = 1 << 29
    """Of address space, the interpreter included."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    passed: bool
    """Whether it ran to its end without an error."""
    reason: str
    """`passed`, the name of the error that ended it, `ran too long`, `slept too long` or `killed by signal N`."""


def check_sandbox(advice: str) -> None:
    """Refuse to run programs where this machine cannot keep them in.

    Args:
        advice: What to do then.

    Raises:
        InputError: If it is no Linux machine with an x86-64 processor, or its kernel does not grant the sandbox.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            f"programs that a model writes are run in a sandbox of Linux on x86-64, and this is {platform.system()} "
            f"on {platform.machine()}; {advice}"
        )
    try:
        outcome = run_program("")
    except RuntimeError as error:
        raise InputError(f"programs that a model writes are run in a sandbox, and {error}; {advice}") from None
    if not outcome.passed:
        raise InputError(
            f"programs that a model writes are run in a sandbox, where not even an empty one passes here "
            f"({outcome.reason}); {advice}"
        )


def run_program(program: str, limits: Limits = Limits()) -> Outcome:
    """Run a Python program to its end, in an empty folder that is removed after it.

    Args:
        program: Its text, its tests included: that it ends without an error is what is found out.
        limits: What it may use.

    Raises:
        RuntimeError: If the kernel does not grant the sandbox; the program was not run.
    """
    # Imported for its place, and so that it is among the sources of whatever runs programs; it is Linux's alone.
    from stillhouse.sandbox import child

    secret = secrets.token_hex(16)
    asked = {
        "program": program,
        "secret": secret,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
    }
    with tempfile.TemporaryDirectory(prefix="stillhouse-sandbox-") as scratch, tempfile.TemporaryFile() as told:
        # A file and no pipe: the process reads it when it comes to it, however long it is.
        told.write(json.dumps(asked).encode())
        told.seek(0)
        process = subprocess.Popen(
            # As alone as with -I, which would not heed the environment: the order of a set would be another each time.
            [sys.executable, "-P", "-s", "-S", str(Path(child.__file__))],
            stdin=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            # Nothing of the user's: a name or a key may stand there.
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        try:
            said = _listen(process, limits)
        finally:
            _kill(process)
    return said if isinstance(said, Outcome) else _outcome(said, secret, process.returncode)


def _listen(process: "subprocess.Popen[bytes]", limits: Limits) -> bytes | Outcome:
    """What the process says until it ends, or how it went over its time."""
    started, asleep = time.monotonic(), 0
    while True:
        try:
            return process.communicate(timeout=_LOOK_SECONDS)[0]
        except subprocess.TimeoutExpired:
            asleep = asleep + 1 if _is_asleep(process.pid) else 0
            if time.monotonic() - started >= limits.wall_seconds:
                return Outcome(passed=False, reason="ran too long")
            if asleep * _LOOK_SECONDS >= limits.asleep_seconds:
                return Outcome(passed=False, reason="slept too long")


def _is_asleep(pid: int) -> bool:
    """Whether a process waits, and not for a processor; the letter behind its name, which may hold anything."""
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return state.rpartition(")")[2].split()[0] == "S"


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the whole group; where it has ended already, its number is not given anew before it is waited for."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _outcome(said: bytes, secret: str, code: int) -> Outcome:
    text = said.decode("ascii", "replace")
    if not text.startswith(secret):
        reason = f"killed by signal {-code}" if code < 0 else "ended its own process"
        return Outcome(passed=False, reason=reason)
    word = text.removeprefix(secret)
    if word.startswith("no sandbox"):
        raise RuntimeError(f"the kernel does not grant the sandbox ({word}); nothing was run")
    return Outcome(passed=word == "passed", reason=word.removeprefix("error ")[:80])
