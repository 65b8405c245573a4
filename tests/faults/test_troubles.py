"""What goes wrong inside a stage: the run fails once, says what to do, and is not tried again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, Journal
from soak_results import Case

pytestmark = pytest.mark.soak

SAYS = {
    "memory": "Out of memory: memory ran out on cpu: lower distillation.batch_rows from 2 to 1. What is finished",
    "memory of a child": "Out of memory: memory ran out on cpu: lower distillation.batch_rows from 2 to 1",
    "killed child": "(9 is most often the system out of memory). Free some memory, or lower distillation.batch_rows",
    "diverged": "TrainingDiverged: the loss is not a number at step 3. Mend this and retry: what is finished is kept",
    "input": "this cannot be; do something else",
}
"""What stages fail with. A gate that fails is no failure: its run ends as `Blocked`."""


def test_a_stage_that_fails(house: House, case: Case, runs: Path, journal: Journal):
    """Its task has retries, as those have that read from a network: they are for what can help."""
    case.fault = "a stage that may be retried runs out of memory, dies for it, diverges, or reads a wrong input"
    asked = {name: house.run("sweep/toy", runs=str(runs / name), seconds=0.2, seed=name) for name in SAYS}
    for name, run in asked.items():
        ended = house.end(run, 180)
        assert ended["type"] == "FAILED" and SAYS[name] in ended["message"], ended
        assert not ended["message"].startswith("Flow run encountered")
        assert len(Journal(runs / name / "journal").lines("trouble begins")) == 1, "it was tried again"
        assert [task["run_count"] for task in house.task_runs(run) if task["name"].startswith("trouble")] == [1]
        assert house.get(f"/flow_runs/{run}")["run_count"] == 1
    case.ended = "Failed, with a line that says what to do; none was tried again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of two megabytes, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("where", ["disk", "disk in a child"])
def test_a_disk_that_is_full(house: House, case: Case, runs: Path, small_disk: Path | None, where: str):
    place = "a stage" if where == "disk" else "a stage's own process"
    case.fault = f"the disk is full in {place}" + ("" if small_disk else " (the error raised by hand)")
    folder, seed = (small_disk / "runs", where) if small_disk else (runs, f"{where} by hand")
    run = house.run("sweep/toy", runs=str(folder), seconds=0.2, seed=seed)
    ended = house.end(run, 180)
    assert ended["type"] == "FAILED"
    assert ended["message"].startswith("The disk is full (") and "stillhouse gc" in ended["message"], ended["message"]
    assert len(Journal(folder / "journal").lines("trouble begins")) == 1
    case.ended = "Failed: `The disk is full (...). Free some space (stillhouse gc helps) and retry`"
    if small_disk:
        assert subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)]).returncode == 0
        ended, _ = house.retry(run)
        assert ended["name"] == "Packaged" and len(Journal(folder / "journal").lines("train begins")) == 1
        case.went_on = "more space, then Retry: 3 finished stages found"


LIMIT = 524_288
"""Bytes of JSON that Prefect's server takes as parameters."""


def test_parameters_at_and_over_the_limit(house: House, case: Case, runs: Path):
    case.fault = "parameters of 524,288 bytes, and of one more"
    asked = {"runs": str(runs), "seconds": 0.2, "seed": "size"}
    empty = len(json.dumps({**asked, "filling": ""}, separators=(",", ":")))
    run = house.run("sweep/toy", **asked, filling="x" * (LIMIT - empty))
    ended = house.end(run, 120)
    assert ended["name"] == "Packaged"
    more = {**asked, "filling": "x" * (LIMIT - empty + 1)}
    refused = house.ask_to_run("sweep/toy", more)
    assert refused.status_code == 422, refused.text[:500]
    says = f"Flow run parameters must be less than {LIMIT:,} bytes when serialized (got {LIMIT + 1:,} bytes)"
    assert says in refused.text
    command = ("deployment", "run", "sweep/toy", "--params", "-")
    told = house.call(sys.executable, "-m", "prefect", *command, given=json.dumps(more))
    assert told.returncode == 1 and says in told.stderr.replace("\n", "")
    case.ended = f"the first ran, {ended['name']}; the second was refused by the API and `prefect`: “{says}”"
