"""Two rounds on a random model: without anything that keeps it, the first domain is forgotten."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.held_out import figures_of_sums, sum_documents
from stillhouse.data.dataset import Split, read_split, write_split
from stillhouse.data.rounds import RoundSettings, choose_round, take
from stillhouse.models.load import load_model
from stillhouse.recipe.continual import Continual, knowledge_of_round
from stillhouse.recipe.knowledge import Online
from tests.stillhouse.training.trainings import run


@pytest.fixture
def domains(apart: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Two languages of the same letters: in one each is followed by the next, in the other by the one before."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("validation", 4), ("held_out", 8)):
        names, ids = [], []
        for number in range(count):
            domain, step = (("up", 1), ("down", -1))[number % 2]
            names.append(f"{domain}/{number}")
            ids.append(5 + (rng.integers(0, 40) + step * np.arange(24)) % 40)
        starts = np.arange(0, 24 * count + 1, 24)
        counted = np.ones(24 * count, dtype=bool)
        counted[starts[:-1]] = False
        lengths = np.full(count, 24, dtype=np.int64)
        split = Split(np.concatenate(ids).astype(np.int32), counted, starts, lengths, tuple(names))
        write_split(tmp_path / "domains", name, split)
    return {**apart, "dataset": tmp_path / "domains"}


def loss_of_first_domain(model: Path, dataset: Path) -> float:
    held_out = read_split(dataset, "held_out")
    own = take(held_out, [name.startswith("up/") for name in held_out.names])
    sums = sum_documents(load_model(model, device="cpu", dtype="fp32"), None, own)
    return figures_of_sums(sums, seed=0)["held_out_loss_nats_per_token"]


def second_round(domains: dict[str, Path], first: Path, folder: Path, **asked) -> Path:
    route = Continual(rounds=({"sets": ["up"]}, {"sets": ["down"]}), **asked)
    folder.mkdir()
    chosen = RoundSettings(new=("down",), earlier=("up",), replay=route.replay, seed=0)
    choose_round(chosen, {"dataset": domains["dataset"]}, folder)
    read = {**domains, "start": first, "teacher_1": first, "dataset": folder}
    told = {"alpha": 0.5, "temperature": 1.0, "steps": 30, "knowledge": knowledge_of_round(route, 1, Online())}
    return run(read, folder / "student", **told)


def test_the_first_domain_is_forgotten_unless_it_is_replayed_or_taught_by_the_student_before(domains, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    choose_round(RoundSettings(new=("up",), seed=0), {"dataset": domains["dataset"]}, one)
    first = run({**domains, "dataset": one}, tmp_path / "first", alpha=0.0, steps=60)
    after_own = loss_of_first_domain(first, domains["dataset"])
    ways = {
        "naive": {"replay": 0.0, "previous_student": "none"},
        "replay": {"replay": 0.5, "previous_student": "none"},
        "replay and the student before": {"replay": 0.5, "previous_student": "replayed"},
        "the student before alone": {"replay": 0.0, "previous_student": "everywhere", "previous_weight": 9.0},
    }
    lost = {
        way: loss_of_first_domain(second_round(domains, first, tmp_path / way, **asked), domains["dataset"]) - after_own
        for way, asked in ways.items()
    }
    assert lost["naive"] > 1.0
    for way in list(ways)[1:]:
        assert lost[way] < 0.8 * lost["naive"], lost
    # What the student before says of replayed text keeps more than the replay itself.
    assert lost["replay and the student before"] < 0.95 * lost["replay"], lost
