"""Several processes on one machine: the same training as one, and none of them outlives another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stillhouse.child import ChildError
from stillhouse.errors import InputError
from stillhouse.recipe.training_compute import TrainingCompute
from stillhouse.store.artifact import hash_file
from stillhouse.training.distill import distill
from stillhouse.training.loop import train
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


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_ranks_resumed_equal_two_uninterrupted_bit_for_bit(apart, tmp_path, sharding):
    """The last checkpoint of six steps is of the fourth, and is all that the second training is given."""
    asked = {"training": {"processes": 2, "sharding": sharding}, "loss": {"kind": "taid"}}
    whole, resumed = run(apart, tmp_path / "whole", **asked), tmp_path / "resumed"
    assert [path.name for path in (whole / "work").glob("step-*")] == ["step-00000004"]
    shutil.copytree(whole / "work", resumed / "work")
    run(apart, resumed, **asked)
    for name in ("model.safetensors", "history.json"):
        assert hash_file(resumed / name) == hash_file(whole / name)


def test_another_number_of_processes_than_was_ordered_is_refused(apart, tmp_path):
    """Under torchrun the number is said twice; this process is one, as under `--nproc-per-node 1`."""
    with pytest.raises(InputError, match=r"1 processes joined a training that is ordered for 2 \(compute.processes\)"):
        train(settings(training={"processes": 2}), apart, tmp_path)
    assert not list(tmp_path.glob("model.safetensors"))


def test_more_processes_than_accelerators_are_refused_and_the_order_is_left_for_torchrun(apart, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    asked = settings(training={"processes": 2})
    asked = asked.model_copy(update={"compute": asked.compute.model_copy(update={"device": "cuda"})})
    with pytest.raises(InputError, match="processes is 2, and each takes a cuda device of its own, .* has 1: lower it"):
        distill(asked, apart, tmp_path)
    assert json.loads((tmp_path / "work" / "order.json").read_text())["settings"]["training"]["processes"] == 2


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# Its own way to several processes on processors is MPI; this one is torchrun's, and the device is the order's to say.
LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


@pytest.mark.parametrize("launcher", [TORCHRUN, LAUNCH], ids=["torchrun", "accelerate launch"])
def test_what_a_launcher_trained_is_taken_up_by_the_stage(apart, tmp_path, monkeypatch, launcher):
    """The stage is run once to leave its order, the launcher trains by it, and the stage is run again."""
    expected = run(apart, tmp_path / "expected", training={"processes": 2})
    store = tmp_path / "partial"
    shutil.copytree(expected / "work", store / "work", ignore=shutil.ignore_patterns("step-*"))
    order = json.loads((store / "work" / "order.json").read_text()) | {"folder": str(store)}
    (store / "work" / "order.json").write_text(json.dumps(order))
    command = [sys.executable, "-m", *launcher, "-m", "stillhouse.training.rank", str(store / "work" / "order.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    # What the store keeps of an unfinished stage.
    assert [path.name for path in store.iterdir()] == ["work"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    monkeypatch.setattr("stillhouse.training.distill.train_in_several", lambda *_: pytest.fail("trained once more"))
    run(apart, store, training={"processes": 2})
    for name in ("model.safetensors", "history.json", "facts.json"):
        assert hash_file(store / name) == hash_file(expected / name)


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
