"""Several processes on one machine: the same training as one, and none of them outlives another."""

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from stillhouse.child import ChildError
from stillhouse.recipe.training_compute import TrainingCompute
from stillhouse.training.distill import distill
from tests.stillhouse.training.trainings import assert_alike, run, settings


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_ranks_equal_one(apart, tmp_path, sharding):
    """At the same global batch: two rows in each of two processes are four in one."""
    moving = {"loss": {"kind": "taid"}, "alpha": {"start": 0.9, "end": 0.1}, "steps": 4}
    moving |= {"features": {"rank": 8, "fit_tokens": 64}}
    one = run(apart, tmp_path / "one", accumulation=2, **moving)
    two = run(apart, tmp_path / "two", training={"processes": 2, "sharding": sharding}, **moving)
    assert_alike(one, two)


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
    ranks = trained_by(folder)
    ranks[1].kill()
    thread.join(60)
    assert raised and "killed by signal 9" in raised[0]
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)


def trained_by(folder: Path) -> list[psutil.Process]:
    """Both processes, once a checkpoint shows that they train."""
    deadline = time.monotonic() + 90
    while not list(folder.glob("work/step-*")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    ranks = [each for each in psutil.Process(os.getpid()).children() if "train_as_rank" in " ".join(each.cmdline())]
    return sorted(ranks, key=lambda rank: int(rank.environ()["RANK"]))


def test_sharding_over_one_process_is_refused():
    with pytest.raises(ValueError, match="there is one process to hold the shards"):
        TrainingCompute(sharding="full")
