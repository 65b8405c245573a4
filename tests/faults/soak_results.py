"""What came of the faults, for docs/soak.md and docs/soak.json."""

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stillhouse import machine

_LIMITS = (
    "A worker reports a killed flow twice, 2 to 10 seconds apart, and its second report undoes a Retry that was "
    "pressed between the two: the run is `Crashed` again. Press once more.",
    "A worker that is told to end (SIGTERM) kills its flow and says nothing of it. `stillhouse ui` says it instead; "
    "elsewhere the run is known as crashed by its missing heartbeats.",
    "While the server is away, Prefect drops what task runs tell of themselves. Their run's state becomes true again; "
    "theirs may stay `Running`. The next attempt has task runs of its own.",
    "Not done here, but so by Prefect's code: a server that is away for more than a minute takes an accelerator's slot "
    "back from who holds it, and may give it to another run before the first has ended. `redistill` also holds a lease "
    "for being the only one of its kind, and is ended if it cannot renew that for some minutes; it goes on from its "
    "checkpoint when it is started again.",
    "A worker that a script starts with `&` is deaf to SIGTERM: Prefect turns that into SIGINT, which such a shell has "
    "ignored. `stillhouse ui` and systemd start it otherwise.",
    "`prefect deployment run` with parameters that are too large prints what is wrong, and the parameters with it.",
)
_MOST_CHARACTERS = 200
"""Of what was found instead of what should be."""
_LIBRARIES = ("prefect", "fastapi", "httpx", "torch")


@dataclass
class Case:
    """One fault."""

    test: str
    fault: str = ""
    """What was done, to what."""
    ended: str = ""
    """The state that the run ended in, or what else was found."""
    known_after_seconds: float | None = None
    """From the fault to that state on the server."""
    left: str = ""
    """Which processes were left, and for how long."""
    went_on: str = ""
    """What Retry or a new run found."""
    passed: bool | None = None
    why: str = ""
    """First line of what was found instead, where it did not end as it should."""
    test_seconds: float = 0.0


@dataclass
class Results:
    """Of one session of tests."""

    cases: dict[str, Case] = field(default_factory=dict)

    def begin(self, test: str) -> Case:
        return self.cases.setdefault(test, Case(test))

    def end(self, test: str, passed: bool, seconds: float, why: str = "") -> None:
        case = self.cases[test]
        case.passed = passed and case.passed is not False
        case.why = case.why or why.strip().partition("\n")[0]
        case.test_seconds = round(case.test_seconds + seconds, 1)

    def write(self, folder: Path) -> None:
        """Write both files."""
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": {**machine.hardware(), "memory_bytes": machine.memory_bytes()},
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        }
        content = {**about, "cases": [asdict(case) for case in self.cases.values()]}
        (folder / "soak.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "soak.md").write_text("\n".join(self._page(about)) + "\n", encoding="utf-8")

    def _page(self, about: dict[str, Any]) -> list[str]:
        hardware, versions = about["hardware"], about["versions"]
        passed = sum(case.passed is True for case in self.cases.values())
        minutes = sum(case.test_seconds for case in self.cases.values()) / 60
        told = ", ".join(f"{name} {number}" for name, number in versions.items())
        return [
            "# What was done to runs, and what came of it",
            "",
            f"Written by `make soak` on {about['date']}: {passed} of {len(self.cases)} faults ended as they should, in "
            f"{minutes:.0f} minutes. {hardware['processor']}, {hardware['cores']} cores, "
            f"{hardware['memory_bytes'] / 2**30:.0f} GiB, {hardware['system']}; {told}.",
            "",
            "The faults are done to a real server and real workers. Most hit a toy flow (`tests/faults/toy.py`), whose "
            "stages take seconds and are run by the same code as the real ones: one works by itself, one in a process "
            "of its own, one trains, with a checkpoint and the accelerator's slot. *Known after* is the time from the "
            "fault to the run's state on the server; *left* is how long a process of the run was there after it.",
            "",
            "| what was done | it ended as | known after | left | went on |",
            "| --- | --- | --- | --- | --- |",
            *map(_row, self.cases.values()),
            "",
            "## What a person should know besides",
            "",
            *(f"- {limit}" for limit in _LIMITS),
        ]


def _row(case: Case) -> str:
    known = "" if case.known_after_seconds is None else f"{case.known_after_seconds:.0f} s"
    ended = case.ended if case.passed else f"**not as it should** {' '.join(filter(None, (case.ended, _why(case))))}"
    return f"| {case.fault or case.test} | {ended} | {known} | {case.left} | {case.went_on} |"


def _why(case: Case) -> str:
    """What was found instead, short enough for a table and without its marks."""
    why = case.why.replace("|", "/").replace("`", "'")
    return f"`{why[:_MOST_CHARACTERS]}`" if why else ""
