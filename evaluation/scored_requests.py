"""What a model answered, request by request, so that a killed evaluation goes on where it was and a repeat is free.

An append-only file for each model and way of running it. A line is `[key, answer, check]` in JSON: the SHA-256 of the
request, what the model said, and a checksum of both. A line that a kill tore, or that a disk damaged, is asked again.
Two processes may append at once: each writes whole lines under the file's lock.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillhouse.store import beside
from stillhouse.store.artifact import MANIFEST, hash_json, read_manifest

logger = logging.getLogger(__name__)

_KEY_CHARACTERS = 32
_CHECK_CHARACTERS = 8


def request_key(kind: str, *parts: Any) -> str:
    """Name a request by all that decides its answer, as JSON values."""
    return hash_json([kind, *parts])[:_KEY_CHARACTERS]


class ScoredRequests:
    """Answers of one model that is run in one way."""

    def __init__(self, file: Path | None = None):
        """Read what is known.

        Args:
            file: Where the answers are kept; without one they live as long as this object.
        """
        self.asked = 0
        """Requests that the model itself answered."""
        self._file = file
        self._answers: dict[str, Any] = {} if file is None or not file.is_file() else _read(file)

    @classmethod
    def of_model(cls, folder: Path, scorer: Mapping[str, Any]) -> "ScoredRequests":
        """Open the answers of an artifact's model, kept by the store that runs the stage; elsewhere keep nothing.

        Args:
            folder: The model.
            scorer: All that decides an answer besides model and request: runtime, precision, device, code.
        """
        if not (folder / MANIFEST).is_file():
            return cls()
        kept = beside.folder_of_answers(beside.model_digest(read_manifest(folder)))
        return cls(None if kept is None else kept / f"{scorer['runtime']}-{hash_json(dict(scorer))[:16]}.jsonl")

    @property
    def known(self) -> Mapping[str, Any]:
        """Every answer by its request's key."""
        return self._answers

    def get(self, key: str) -> Any:
        """Return the answer to a request, or `None` where it is not known."""
        return self._answers.get(key)

    def keep(self, answers: Mapping[str, Any]) -> None:
        """Note what the model answered, on the disk before this returns."""
        self.asked += len(answers)
        self._answers |= answers
        if self._file is not None and answers:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _append(self._file, "".join(map(_line, answers, answers.values())))


def _line(key: str, answer: Any) -> str:
    return json.dumps([key, answer, _check(key, answer)], allow_nan=False) + "\n"


def _check(key: str, answer: Any) -> str:
    return hashlib.sha256(json.dumps([key, answer]).encode()).hexdigest()[:_CHECK_CHARACTERS]


def _read(file: Path) -> dict[str, Any]:
    """Read a file's answers, less its damaged lines."""
    lines = file.read_bytes().split(b"\n")
    answers, damaged = {}, 0
    # Behind the last line's end there is nothing, or what a kill left of another.
    for line in lines if lines[-1] else lines[:-1]:
        try:
            key, answer, check = json.loads(line)
        except (ValueError, TypeError):
            damaged += 1
            continue
        if check == _check(key, answer):
            answers[key] = answer
        else:
            damaged += 1
    if damaged:
        logger.warning("%d lines of %s are torn or damaged; their requests are asked again", damaged, file)
    return answers


def _append(file: Path, text: str) -> None:
    """Put whole lines behind what is there, one process at a time."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            # Whoever wrote last was killed in the middle of a line.
            text = "\n" + text
        left = text.encode()
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
