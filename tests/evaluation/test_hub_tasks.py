"""Tasks of lm-eval whose data a hub has: pinned before any work, scored as lm-eval describes them. No hub is asked."""

import json
from types import SimpleNamespace

import datasets
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi

from evaluation import hub_tasks
from evaluation.capability import NOT_SCORED, CapabilitySettings, evaluate_capability
from evaluation.hub_tasks import find_hub_tasks, load_hub_task, score_hub_task
from evaluation.lm_eval_model import scorer_of
from stillhouse.errors import InputError
from stillhouse.recipe.compute import Compute

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
SWAG = [
    {"startphrase": f"The still number {number}", "label": number % 4}
    | {f"ending{end}": f" drips {end} times" for end in range(4)}
    for number in range(10)
]
BEAMS = {"output_type": "generate_until", "generation_kwargs": {"num_beams": 4}}
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
    found = score_hub_task(scorer, task, load_hub_task(task, tmp_path / "task"), 5)
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
    found = score_hub_task(
        scorer_of(roomy_model, compute=COMPUTE, batch_size=4), task, load_hub_task(task, tmp_path / "task"), 3
    )
    assert (found["metric"], found["direction"], found["n"]) == ("bits_per_byte", "lower is better", 3)
    assert found["value"] == pytest.approx(sum(found["values"]) / sum(found["weights"]))
    # The empty page adds nothing.
    assert found["values"][2] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cola", "the metric mcc of cola is no mean over documents but matthews_corrcoef.*leave cola out"),
        ("wmt-ro-en-t5-prompt", "has the metric wer, which lm-eval would fetch; it has itself acc, "),
    ],
)
def test_a_metric_that_cannot_be_told_is_refused_before_any_work(hub, name, words):
    with pytest.raises(InputError, match=words):
        find_hub_tasks([name])


def test_a_way_to_write_that_is_not_heeded_is_refused_before_any_work(hub, monkeypatch):
    from lm_eval.tasks import _yaml_loader

    load = _yaml_loader.load_yaml
    monkeypatch.setattr(_yaml_loader, "load_yaml", lambda *told, **how: load(*told, **how) | BEAMS)
    with pytest.raises(InputError, match="swag cannot be asked here: unknown generation_kwargs num_beams"):
        find_hub_tasks(["swag"])


def test_a_gold_label_that_is_no_choice_is_refused(hub, roomy_model, tmp_path, monkeypatch):
    """lm-eval only warns of it, and counts the document as wrong."""
    (task,) = find_hub_tasks(["swag"])
    monkeypatch.setitem(SWAG[4], "label", 7)
    with pytest.raises(ValueError, match="right answer of document 2 of swag must be one of its 4 choices"):
        score_hub_task(
            scorer_of(roomy_model, compute=COMPUTE, batch_size=4), task, load_hub_task(task, tmp_path / "task"), 5
        )


def test_one_task_that_cannot_be_scored_keeps_no_other_from_it(hub, roomy_model, tmp_path, monkeypatch):
    tasks = find_hub_tasks(["swag", "wikitext"])
    monkeypatch.setitem(SWAG[4], "label", 7)
    asked = CapabilitySettings(benchmarks=(), documents=5, hub_tasks=tasks, batch_size=4, compute=COMPUTE)
    evaluate_capability(asked, {"model": roomy_model}, tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert "must be one of its 4 choices" in facts[NOT_SCORED]["swag"] and facts["wikitext"]["n"] == 3
    assert set(json.loads((tmp_path / "capability.json").read_text())) == {"wikitext"}


def test_what_is_a_share_is_decided_by_the_metric_and_not_by_one_models_values(hub, roomy_model, tmp_path, monkeypatch):
    """A mean that happens to be 0 or 1 everywhere, with one of two models, would be compared in another way."""
    monkeypatch.setattr(hub_tasks, "_metric_of", lambda kind, stated: ("acc", True))
    monkeypatch.setattr(hub_tasks, "_SHARES", ())
    (task,) = find_hub_tasks(["swag"])
    found = score_hub_task(
        scorer_of(roomy_model, compute=COMPUTE, batch_size=4), task, load_hub_task(task, tmp_path / "task"), 5
    )
    assert set(found["values"]) <= {0, 1} and (found["unit"], found["correct"]) == ("mean acc", None)


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
