import json
import platform
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from stillhouse import progress
from stillhouse.data import programs, verifiers
from stillhouse.data.document import Document, prompt, read_documents, write_documents
from stillhouse.data.response_figures import read_figures
from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.data import Data
from stillhouse.serving.nucleus import entropy
from stillhouse.teachers import responses
from stillhouse.teachers.responses import SampleSettings, sample_responses, sample_settings

QUESTIONS = ("hi", "what is a cat", "why", "who are you and where", "when")


COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)


def settings(**changes):
    asked = {"samples": 3, "temperature": 1.0, "top_p": 0.95, "max_new_tokens": 6, "batch_size": 4, "scored": ()}
    compute = COMPUTE.model_copy(update={"seed": changes.pop("seed", 0)})
    return SampleSettings(**{**asked, **changes}, compute=compute)


@pytest.fixture
def sample(tmp_path, tiny_model):
    def run(name="responses", questions=QUESTIONS, teacher=tiny_model, **changes):
        documents, folder = tmp_path / "documents", tmp_path / name
        for each in (documents, folder):
            each.mkdir(exist_ok=True)
        asked = [prompt(f"set/{number}", question) for number, question in enumerate(questions)]
        write_documents(documents / "train.jsonl", [Document("text/0", "text", "plain"), *asked])
        sample_responses(settings(**changes), {"teacher": teacher, "documents": documents}, folder)
        found = list(read_documents(folder / "train.jsonl"))
        return found, json.loads((folder / "facts.json").read_text())

    return run


def by_prompt(documents):
    found = {}
    for document in documents:
        found.setdefault(document.messages[0]["content"], []).append(document.messages[1]["content"])
    return found


def test_every_training_prompt_has_its_responses_in_order_and_their_statistics(sample):
    found, facts = sample()
    assert facts["prompts"] == 5 and facts["responses"] == 15
    assert len(found) + facts["empty"] == 15
    assert [document.id for document in found] == sorted(document.id for document in found)
    assert {document.kind for document in found} == {"messages"}
    assert 1 <= facts["tokens_mean"] <= 6 and 0 < facts["token_entropy_nats"] < np.log(300)
    assert facts["verified_share"] is None
    assert len({text for texts in by_prompt(found).values() for text in texts}) > 10


def test_a_response_is_the_same_whatever_stands_in_its_batch_and_another_under_another_seed(sample):
    whole = by_prompt(sample()[0])
    assert by_prompt(sample("alone", batch_size=1)[0]) == whole
    # Prompts are known by their ids, so the same two in another company have the same responses.
    fewer = by_prompt(sample("fewer", questions=QUESTIONS[:2], batch_size=3)[0])
    assert fewer == {question: whole[question] for question in QUESTIONS[:2]}
    more = by_prompt(sample("more", samples=4)[0])
    assert all(more[question][: len(texts)] == texts for question, texts in whole.items() if len(texts) == 3)
    assert by_prompt(sample("other", seed=1)[0]) != whole


def test_what_was_resumed_is_what_would_have_been(sample, monkeypatch):
    draws, calls = responses._sample, []

    def dies_at_the_third(teacher, asked):
        calls.append([(each.prompt.id, each.sample) for each in asked])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draws(teacher, asked)

    monkeypatch.setattr(responses, "_sample", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        sample("broken")
    resumed = sample("broken")
    # Four batches, of which the third is begun twice.
    assert len(calls) == 5 and calls[2] == calls[3]
    assert resumed == sample("whole")


def test_a_cold_teacher_says_the_greedy_answer_every_time(sample, tiny_model):
    found, facts = sample(temperature=0.001)
    assert facts["duplicate_share"] == pytest.approx(2 / 3) and facts["agreement"] == pytest.approx(1)
    model, tokenizer = load_model(tiny_model, device="cpu", dtype="fp32"), load_tokenizer(tiny_model)
    for document in found:
        text = f"<|start|>user\n{document.messages[0]['content']}<|end|>\n<|start|>assistant\n"
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        start = ids.shape[1]
        for _ in range(6):
            with torch.no_grad():
                token = model(input_ids=ids).logits[0, -1].argmax()
            if token == tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, token.reshape(1, 1)], dim=1)
        assert document.messages[1]["content"] == tokenizer.decode(ids[0, start:], skip_special_tokens=True)
        assert document.ended == (ids.shape[1] < start + 6)


def test_the_noted_entropy_is_that_of_the_teacher_s_distribution_whatever_is_drawn_from_it(sample, tiny_model):
    _, facts = sample(questions=QUESTIONS[:1], samples=1, max_new_tokens=1, temperature=0.1)
    model, tokenizer = load_model(tiny_model, device="cpu", dtype="fp32"), load_tokenizer(tiny_model)
    ids = tokenizer("<|start|>user\nhi<|end|>\n<|start|>assistant\n", return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = model(input_ids=ids["input_ids"]).logits[0, -1].numpy()
    assert facts["token_entropy_nats"] == pytest.approx(entropy(logits[: len(tokenizer)]), rel=1e-5)


def test_the_figures_of_each_response_lie_beside_it(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(verifiers, "is_right", lambda prompt, text: prompt == "set/0")
    found, facts = sample(scored=("set",))
    figures = list(read_figures(tmp_path / "responses"))
    assert len(figures) == len(found) and facts["empty"] == 0
    assert [each.right for each in figures] == [document.id == "set/0" for document in found]
    assert all(each.tokens == 6 for each, document in zip(figures, found, strict=True) if not document.ended)
    tokens = [each.tokens for each in figures]
    assert sum(tokens) / len(tokens) == pytest.approx(facts["tokens_mean"])
    spread = sum(each.tokens * each.token_entropy_nats for each in figures) / sum(tokens)
    assert spread == pytest.approx(facts["token_entropy_nats"])
    assert all(each.distinct_2 is None if each.tokens == 1 else 0 < each.distinct_2 <= 1 for each in figures)


def test_generation_that_never_ends_is_told(sample, caplog, monkeypatch):
    monkeypatch.setattr(responses, "end_tokens", lambda model, tokenizer: frozenset())
    found, facts = sample()
    assert facts["ended_share"] == 0 and facts["tokens_mean"] == 6
    assert not any(document.ended for document in found)
    assert "none of 15 responses ended within 6 tokens" in caplog.text


MANY = {"samples": 64, "batch_size": 64, "max_new_tokens": 2}
"""320 responses in five batches."""


def test_where_only_ended_ones_will_be_kept_and_none_ends_the_drawing_stops_early(sample, tmp_path, monkeypatch):
    """After enough prompts, and not responses: those to one prompt are much alike."""
    monkeypatch.setattr(responses, "ENOUGH", 4)
    monkeypatch.setattr(responses, "end_tokens", lambda model, tokenizer: frozenset())
    for _ in range(2):
        with pytest.raises(InputError, match=r"none of the first 256 responses ended \(0%\).*raise data") as refused:
            sample("stopped", **MANY, needs_ended=True)
        assert str(refused.value).count("it wrote") == 3
        assert len(list((tmp_path / "stopped" / "work").iterdir())) == 4
    # What was drawn serves the same recipe without the filter.
    resumed = sample("stopped", **MANY)
    assert resumed[1]["responses"] == 320 and resumed == sample("whole", **MANY)


def test_where_only_verified_ones_will_be_kept_and_none_is_right_the_drawing_stops_early(sample, monkeypatch):
    monkeypatch.setattr(responses, "ENOUGH", 4)
    monkeypatch.setattr(verifiers, "is_right", lambda prompt, text: False)
    with pytest.raises(InputError, match=r"of the first 256 responses it is with none \(0%\), and 1 is needed"):
        sample("stopped", **MANY, scored=("set",), needs_verified=True)
    # Prompts without a verifier are none that it could be content with.
    assert sample("others", **MANY, scored=("another",), needs_verified=True)[1]["responses"] == 320


def test_one_response_that_may_be_kept_lets_the_drawing_go_on(sample, monkeypatch):
    monkeypatch.setattr(responses, "ENOUGH", 4)
    seen = []
    monkeypatch.setattr(verifiers, "is_right", lambda prompt, text: seen.append(text) or len(seen) == 256)
    facts = sample(**MANY, scored=("set",), needs_verified=True)[1]
    assert facts["verified_share"] == pytest.approx(1 / 320)


def test_the_shares_that_ended_and_are_right_are_told_as_it_goes(sample, monkeypatch):
    monkeypatch.setattr(verifiers, "is_right", lambda prompt, text: prompt == "set/0")
    told = []
    with progress.listening(told.append):
        facts = sample(scored=("set",))[1]
    assert [step.done for step in told] == [1, 2, 3, 4] and {step.total for step in told} == {4}
    # Of all responses so far, those of earlier batches included.
    assert told[-1].figures["verified"] == pytest.approx(facts["verified_share"])
    assert told[-1].figures["ended"] == pytest.approx(facts["ended_share"])
    with progress.listening(told.append):
        sample("unjudged")
    assert "ended" in told[-1].figures and "verified" not in told[-1].figures


def test_after_the_longest_prompts_the_lengths_are_mixed():
    order = responses._order(40, seed=0)
    assert order[0] == 0 and sorted(order) == list(range(40)) and order != sorted(order)
    assert responses._order(40, seed=0) == order and responses._order(1, seed=0) == [0]


def test_what_will_be_kept_is_not_in_the_key():
    kept = {"ended": True, "verified": True}
    asked = [
        sample_settings(Data(sets=[{"kind": "packaged", "name": "reasoning-gym"}], answers={"sampled": each}), COMPUTE)
        for each in ({}, {"keep": kept})
    ]
    assert [(each.needs_ended, each.needs_verified) for each in asked] == [(False, False), (True, True)]
    assert asked[0].model_dump(mode="json") == asked[1].model_dump(mode="json")


def test_verifiers_are_asked_of_the_sets_that_have_them(sample, monkeypatch):
    monkeypatch.setattr(verifiers, "is_right", lambda prompt, text: prompt == "set/0")
    facts = sample(scored=("set",))[1]
    assert facts["verified_share"] == pytest.approx(3 / 15) and facts["verified_prompts_share"] == pytest.approx(1 / 5)


@pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="the sandbox is of Linux on x86-64"
)
def test_what_is_written_is_run_against_the_tests_of_its_prompt(tmp_path, tiny_model, monkeypatch):
    documents = tmp_path / "documents"
    documents.mkdir()
    prompts = [replace(prompt("mine/1", "write add"), tests="assert add(1, 2) == 3"), prompt("mine/2", "hi")]
    write_documents(documents / "train.jsonl", prompts)
    folders = [tmp_path / name for name in ("wrong", "right")]
    for folder in folders:
        folder.mkdir()
        sample_responses(settings(), {"teacher": tiny_model, "documents": documents}, folder)
        # The second time, as if each response were this program.
        monkeypatch.setattr(programs, "program_in", lambda response: "def add(a, b):\n    return a + b")
    facts = [json.loads((folder / "facts.json").read_text()) for folder in folders]
    assert [each["verified_share"] for each in facts] == [0, 1]
    judged = [{each.right for each in read_figures(folder)} for folder in folders]
    assert judged == [{False, None}, {True, None}]
    # Answered, they are documents like any other.
    assert all(document.tests is None for document in read_documents(folders[1] / "train.jsonl"))


def test_a_prompt_without_room_is_left_out_and_counted(sample):
    _, facts = sample(questions=("hi", "long " * 60))
    assert facts["too_long"] == 1 and facts["responses"] == 3


def test_without_prompts_no_model_is_needed(sample, tmp_path):
    found, facts = sample(questions=(), teacher=tmp_path / "absent")
    assert found == [] and facts["responses"] == 0 and facts["ended_share"] is None


def test_a_model_without_a_chat_template_is_refused(sample, tmp_path, tiny_model):
    base = tmp_path / "base-model"
    shutil.copytree(tiny_model, base, ignore=shutil.ignore_patterns("chat_template.jinja"))
    with pytest.raises(InputError, match="base-model has no chat template"):
        sample(teacher=base)
