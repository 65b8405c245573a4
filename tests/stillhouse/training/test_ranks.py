"""Several processes on one machine: the same training as one, and none of them outlives another."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stillhouse.child import ChildError
from stillhouse.recipe.training_compute import TrainingCompute
from stillhouse.training.distill import distill
from tests.conftest import ROOT
from tests.stillhouse.teachers.completions_server import serving
from tests.stillhouse.training.trainings import FOLLOWING, assert_alike, run, settings


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_ranks_equal_one(apart, tmp_path, sharding):
    """At the same global batch: two rows in each of two processes are four in one."""
    moving = {"loss": {"kind": "taid"}, "alpha": {"start": 0.9, "end": 0.1}, "steps": 4}
    moving |= {"temperature": {**FOLLOWING, "start": 2, "end": 1}}
    moving |= {"features": {"rank": 8, "fit_tokens": 64}}
    one = run(apart, tmp_path / "one", accumulation=2, **moving)
    two = run(apart, tmp_path / "two", training={"processes": 2, "sharding": sharding}, **moving)
    assert_alike(one, two)


def test_two_ranks_ask_an_endpoint_as_one_does(apart, tmp_path):
    """Its address is in no key, and so in no dump of the settings."""
    with serving(apart["teacher"]) as server:
        asked = {"kind": "endpoint", "url": server.url, "model": "teacher", "timeout_seconds": 60.0, "batch_samples": 2}
        one = run(apart, tmp_path / "one", accumulation=2, steps=2, knowledge=asked)
        two = run(apart, tmp_path / "two", training={"processes": 2}, steps=2, knowledge=asked)
        assert_alike(one, two)
        assert all(len(each["prompt"]) <= 2 for each in server.requests)
    assert "url" not in settings(knowledge=asked).model_dump()["knowledge"]


def test_a_rank_that_dies_ends_the_others(apart, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    endless = settings(training={"processes": 2}, steps=100_000)
    raised = []

    def train() -> None:
        with pytest.raises(ChildError) as error:
            distill(endless, apart, folder)
        raised.append(str(error.value))

    thread = threading.Thread(target=train)
    thread.start()
    ranks = trained_by(folder, os.getpid())
    ranks[1].kill()
    thread.join(60)
    assert raised and "killed by signal 9" in raised[0]
    assert not any(map(lives, ranks))


def test_a_cancelled_training_leaves_no_rank(apart, tmp_path):
    """The signal reaches the parent alone, as when a run is cancelled."""
    folder = tmp_path / "cancelled"
    folder.mkdir()
    order = {name: str(path) for name, path in apart.items()}
    told = settings(training={"processes": 2}, steps=100_000).model_dump_json()
    program = (
        "import json, signal, sys; from pathlib import Path; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from stillhouse.training.distill import DistillSettings, distill\n"
        "inputs = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}\n"
        "distill(DistillSettings.model_validate_json(sys.argv[1]), inputs, Path(sys.argv[3]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, told, json.dumps(order), str(folder)], cwd=ROOT)
    ranks = trained_by(folder, parent.pid)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(60) != 0
    assert len(ranks) == 2 and not any(map(lives, ranks))


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def trained_by(folder: Path, parent: int) -> list[psutil.Process]:
    """Both processes, once a checkpoint shows that they train."""
    deadline = time.monotonic() + 90
    while not list(folder.glob("work/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    ranks = [each for each in psutil.Process(parent).children() if "train_as_rank" in " ".join(each.cmdline())]
    return sorted(ranks, key=lambda rank: int(rank.environ()["RANK"]))


def test_sharding_over_one_process_is_refused():
    with pytest.raises(ValueError, match="there is one process to hold the shards"):
        TrainingCompute(sharding="full")
