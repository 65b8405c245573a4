"""The data of one round: what is new, and what is seen again."""

import json
from pathlib import Path

import numpy as np
import pytest

from stillhouse.data.dataset import Split, read_split, write_split
from stillhouse.data.rounds import RoundSettings, choose_round, take
from stillhouse.errors import InputError

SETS = {"general": 8, "medicine": 6, "code": 4}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Documents of 3 to 5 tokens, mixed; the first of each set is in two pieces."""
    rng = np.random.default_rng(0)
    for name in ("train", "validation", "held_out"):
        names = [f"{one}/{number}" for one, count in SETS.items() for number in range(count)]
        names = [names[place] for place in rng.permutation(len(names))]
        names = [piece for each in names for piece in ([each, each] if each.endswith("/0") else [each])]
        lengths = rng.integers(3, 6, size=len(names))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.arange(starts[-1], dtype=np.int32)
        weights = rng.random(len(names), dtype=np.float32) if name == "train" else None
        counted = rng.random(starts[-1]) < 0.8
        write_split(tmp_path / "dataset", name, Split(ids, counted, starts, lengths, tuple(names), weights))
    return tmp_path / "dataset"


def chosen(dataset: Path, folder: Path, **asked) -> dict[str, Split]:
    folder.mkdir()
    choose_round(RoundSettings(**{"seed": 1, **asked}), {"dataset": dataset}, folder)
    return {name: read_split(folder, name) for name in ("train", "validation")}


def of(split: Split, name: str) -> list[str]:
    return [each for each in dict.fromkeys(split.names) if each.startswith(f"{name}/")]


def test_a_round_trains_on_what_is_new_and_is_watched_on_all_that_came(dataset, tmp_path):
    found = chosen(dataset, tmp_path / "one", new=("medicine",), earlier=("general",))
    assert {name.partition("/")[0] for name in found["train"].names} == {"medicine"}
    assert len(of(found["train"], "medicine")) == 6
    assert {name.partition("/")[0] for name in found["validation"].names} == {"medicine", "general"}


def test_replayed_documents_are_a_share_and_the_same_ones_in_every_later_round(dataset, tmp_path):
    second = chosen(dataset, tmp_path / "two", new=("medicine",), earlier=("general",), replay=0.5)
    third = chosen(dataset, tmp_path / "three", new=("code",), earlier=("general", "medicine"), replay=0.5)
    again = of(second["train"], "general")
    assert len(again) == 4 and set(of(third["train"], "general")) == set(again)
    assert len(of(third["train"], "medicine")) == 3 and len(of(third["train"], "code")) == 4
    facts = json.loads((tmp_path / "three" / "facts.json").read_text())
    assert facts["replayed"] == {"general": 4, "medicine": 3}
    assert facts["train"]["sets"]["code"]["documents"] == 4
    other = chosen(dataset, tmp_path / "other", new=("medicine",), earlier=("general",), replay=0.5, seed=2)
    assert set(of(other["train"], "general")) != set(again)


def test_what_is_taken_of_a_split_is_what_stood_there(dataset):
    whole = read_split(dataset, "train")
    kept = [name.startswith("code/") for name in whole.names]
    part = take(whole, kept)
    assert part.num_documents == sum(kept) and part.starts[-1] == part.num_tokens
    for place, source in enumerate(np.flatnonzero(kept)):
        own, there = (slice(s.starts[n], s.starts[n + 1]) for s, n in ((part, place), (whole, source)))
        assert (part.ids[own] == whole.ids[there]).all() and (part.counted[own] == whole.counted[there]).all()
        assert part.num_bytes[place] == whole.num_bytes[source] and part.weights[place] == whole.weights[source]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"new": ("law",)}, "no training document is of law"),
        (
            {"new": ("code",), "earlier": ("general",), "replay": 0.01},
            "the replay buffer of general is empty: 0.01 of its 8 training documents is less than one",
        ),
    ],
)
def test_a_round_of_nothing_and_an_empty_replay_buffer_are_refused(dataset, tmp_path, asked, said):
    with pytest.raises(InputError, match=said):
        chosen(dataset, tmp_path / "round", **asked)


def test_a_round_that_nothing_watches_is_refused(dataset, tmp_path):
    validation = read_split(dataset, "validation")
    write_split(dataset, "validation", take(validation, [name.startswith("code/") for name in validation.names]))
    with pytest.raises(InputError, match="no validation text is of general"):
        chosen(dataset, tmp_path / "round", new=("general",))
