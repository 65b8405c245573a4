"""Tasks of lm-eval whose data a hub has: pinned before any work, scored as lm-eval describes them. No hub is asked."""

from types import SimpleNamespace

import datasets
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi

from evaluation.hub_tasks import find_hub_tasks, score_hub_task
from evaluation.lm_eval_model import scorer_of
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
SWAG = [
    {"startphrase": f"The still number {number}", "label": number % 4}
    | {f"ending{end}": f" drips {end} times" for end in range(4)}
    for number in range(10)
]
WIKITEXT = [{"page": "The still drips slowly . "}, {"page": "Water , malt and yeast . "}, {"page": ""}]


@pytest.fixture
def hub(monkeypatch) -> list[dict]:
    """A hub with two data sets; gives what was asked of it."""
    asked: list[dict] = []

    def load(path, name=None, **options):
        asked.append({"path": path, "name": name, **options})
        rows, split = (SWAG, "validation") if path == "allenai/swag" else (WIKITEXT, "test")
        return DatasetDict({split: Dataset.from_list(rows), "train": Dataset.from_list(rows[:2])})

    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name, timeout: SimpleNamespace(sha=f"commit of {name}"))
    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_task_is_scored_on_its_pinned_data(hub, roomy_model, tmp_path):
    (task,) = find_hub_tasks(["swag"])
    assert (task.data_set, task.commit) == ("allenai/swag", "commit of allenai/swag")
    scorer = scorer_of(roomy_model, compute=COMPUTE, batch_size=4)
    found = score_hub_task(scorer, task, 5, tmp_path / "task")
    assert hub == [{"path": "allenai/swag", "name": "regular", "revision": "commit of allenai/swag"}]
    assert (found["n"], found["metric"], found["unit"]) == (5, "acc", "share of documents")
    # Every second of the ten, and the answer that its summed log-probability makes the likeliest.
    for number, right in zip(range(0, 10, 2), found["correct"], strict=True):
        row = SWAG[number]
        ends = [SimpleNamespace(args=(row["startphrase"], f" {row[f'ending{end}']}")) for end in range(4)]
        sums = [log_prob for log_prob, _ in scorer.loglikelihood(ends)]
        assert right == (sums.index(max(sums)) == row["label"])
    assert found["value"] == sum(found["correct"]) / 5
    assert "allenai/swag" in found["licence"]


def test_whole_texts_are_scored_in_bits_per_byte(hub, roomy_model, tmp_path):
    (task,) = find_hub_tasks(["wikitext"])
    found = score_hub_task(scorer_of(roomy_model, compute=COMPUTE, batch_size=4), task, 3, tmp_path / "task")
    assert (found["metric"], found["direction"], found["n"]) == ("bits_per_byte", "lower is better", 3)
    assert found["value"] == pytest.approx(sum(found["values"]) / sum(found["weights"]))
    # The empty page adds nothing.
    assert found["values"][2] == 0


def test_a_task_whose_hub_cannot_be_reached_is_refused_in_words(monkeypatch):
    def away(self, name, timeout):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "dataset_info", away)
    with pytest.raises(
        InputError, match="no package here carries its data.*did not give its data, allenai/swag: no route"
    ):
        find_hub_tasks(["swag"])


def test_what_lm_eval_does_not_know_is_refused():
    with pytest.raises(InputError, match="neither this project nor lm-eval knows"):
        find_hub_tasks(["astrology"])


def test_a_task_without_a_single_data_set_is_refused(hub):
    with pytest.raises(InputError, match="only help with a single task whose data are a data set there"):
        find_hub_tasks(["ai2_arc"])
