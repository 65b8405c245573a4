"""The process in which a program runs that a model wrote: it gives up its rights, then runs it.

Started by `stillhouse.sandbox.run` as a script, `python -P -s -S child.py`, without the user's environment; it imports
nothing of this project.

Everything but a short list of system calls fails with EPERM (Linux seccomp, `man 2 seccomp`). What is not on the
list: sockets, processes and threads, signals to others, `execve`, opening files for writing, and whatever changes,
makes or removes a file. Limits hold besides on processor seconds, memory, and the size of files.
"""

import ctypes
import json
import os
import resource
import struct
import sys
import types

_X86_64 = 0xC000003E
"""AUDIT_ARCH_X86_64: numbers of system calls differ between processors."""
_X32 = 0x40000000
"""Set in the numbers of another set of calls, which the same processor has."""

_ALLOWED = {
    "read": 0,
    "write": 1,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "select": 23,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "getpid": 39,
    "exit": 60,
    "uname": 63,
    "getcwd": 79,
    "readlink": 89,
    "gettimeofday": 96,
    "getrusage": 98,
    "times": 100,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "getppid": 110,
    "sigaltstack": 131,
    "gettid": 186,
    "time": 201,
    "futex": 202,
    "getdents64": 217,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "newfstatat": 262,
    "readlinkat": 267,
    "faccessat": 269,
    "getrandom": 318,
    "statx": 332,
    "rseq": 334,
    "faccessat2": 439,
}
"""By their numbers on x86-64. What an interpreter needs that computes and imports."""
_OPENING = {"open": (2, 1), "openat": (257, 2)}
"""Numbers, and which argument says how a file is opened: allowed for reading only."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (os.O_TMPFILE & ~os.O_DIRECTORY)

_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_PASS, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_NUMBER_AT, _PROCESSOR_AT, _ARGUMENTS_AT = 0, 4, 16

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def filter_program() -> bytes:
    """The filter, as the kernel reads it: one instruction is 16-bit code, two 8-bit jumps, 32-bit value."""

    def step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    steps = [
        step(_LOAD, _PROCESSOR_AT),
        step(_EQUAL, _X86_64, yes=1),
        step(_RETURN, _KILL),
        step(_LOAD, _NUMBER_AT),
        step(_AT_LEAST, _X32, no=1),
        step(_RETURN, _REFUSE),
    ]
    for number, argument in _OPENING.values():
        steps += [
            step(_EQUAL, number, no=4),
            step(_LOAD, _ARGUMENTS_AT + 8 * argument),
            step(_ANY_OF, _WRITING, no=1),
            step(_RETURN, _REFUSE),
            step(_RETURN, _PASS),
        ]
    for number in _ALLOWED.values():
        steps += [step(_EQUAL, number, no=1), step(_RETURN, _PASS)]
    return b"".join([*steps, step(_RETURN, _REFUSE)])


def give_up_rights(cpu_seconds: int, memory_bytes: int) -> None:
    """Set the limits and the filter; nothing can lift them again.

    Raises:
        OSError: If the kernel refuses.
    """
    for limit, most in {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }.items():
        resource.setrlimit(limit, (most, most))
    program = filter_program()

    class Filter(ctypes.Structure):
        _fields_ = [("steps", ctypes.c_ushort), ("program", ctypes.c_char_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    held = Filter(len(program) // 8, program)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(held), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    """Run the program that stands in the input, and say on the output how it ended."""
    asked = json.loads(sys.stdin.buffer.read())
    # The program writes into nothing; only this process's own words reach the parent.
    told = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    secret = asked["secret"].encode()

    def say(word: str) -> None:
        os.write(told, secret + word.encode("ascii", "replace"))
        os._exit(0)

    try:
        give_up_rights(asked["cpu_seconds"], asked["memory_bytes"])
    except OSError as error:
        say(f"no sandbox: {error}")
    sys.setrecursionlimit(3000)
    # As a module that was imported: dataclasses look theirs up by its name.
    module = types.ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(compile(asked["program"], "program", "exec"), module.__dict__)
    except BaseException as error:
        # Its own word before it: a program may call its error what it likes.
        say(f"error {type(error).__name__}")
    say("passed")


if __name__ == "__main__":
    main()
