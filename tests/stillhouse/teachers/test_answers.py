import json
import shutil

import pytest
import torch

from stillhouse.data.document import Document, prompt, read_documents, write_documents
from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.data import Answers
from stillhouse.teachers import answers
from stillhouse.teachers.answers import AnswerSettings, answer_prompts

QUESTIONS = ("hi", "what is a cat", "why", "who are you and where", "when")


def settings(batch_size=2, precision="fp32", longest=6):
    compute = Compute(device="cpu", precision=precision, threads=1, seed=0)
    return AnswerSettings(answers=Answers(max_new_tokens=longest, batch_size=batch_size), compute=compute)


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    questions = [prompt(f"set/{number}", question) for number, question in enumerate(QUESTIONS)]
    write_documents(folder / "train.jsonl", [Document("text/0", "text", "plain"), *questions])
    write_documents(folder / "validation.jsonl", [prompt("set/9", "validate me")])
    write_documents(folder / "held_out.jsonl", [])
    return folder


def answer(tmp_path, teacher, documents, chosen, name="answers"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    answer_prompts(chosen, {"teacher": teacher, "documents": documents}, folder)
    found = {split: list(read_documents(folder / f"{split}.jsonl")) for split in ("train", "validation", "held_out")}
    return found, json.loads((folder / "facts.json").read_text())


def test_a_batched_answer_is_the_greedy_answer_of_the_prompt_alone(tmp_path, tiny_model, documents):
    found, facts = answer(tmp_path, tiny_model, documents, settings(batch_size=3))
    model, tokenizer = load_model(tiny_model, device="cpu", dtype="fp32"), load_tokenizer(tiny_model)
    for document in found["train"] + found["validation"]:
        question, said = document.messages
        assert said["role"] == "assistant"
        text = f"<|start|>user\n{question['content']}<|end|>\n<|start|>assistant\n"
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        start = ids.shape[1]
        for _ in range(6):
            with torch.no_grad():
                token = model(input_ids=ids).logits[0, -1].argmax()
            if token == tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, token.reshape(1, 1)], dim=1)
        assert said["content"] == tokenizer.decode(ids[0, start:], skip_special_tokens=True)
        assert document.ended == (ids.shape[1] < start + 6)
    assert facts["prompts"] == 6
    assert facts["answers"] + facts["empty"] == 6


def test_answers_keep_the_order_of_the_prompts_and_texts_are_left_alone(tmp_path, tiny_model, documents):
    found, _ = answer(tmp_path, tiny_model, documents, settings())
    assert [document.id for document in found["train"]] == [f"set/{number}" for number in range(5)]
    assert {document.kind for document in found["train"]} == {"messages"}
    assert found["held_out"] == []


def test_a_killed_run_repeats_only_the_unfinished_batches(tmp_path, tiny_model, documents, monkeypatch):
    generate, calls = answers._generate, []

    def dies_at_the_third(teacher, prompts):
        calls.append([each.id for each in prompts])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(teacher, prompts)

    monkeypatch.setattr(answers, "_generate", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        answer(tmp_path, tiny_model, documents, settings())
    resumed, _ = answer(tmp_path, tiny_model, documents, settings())
    assert len(calls) == 4
    assert calls[2] == calls[3]
    assert resumed == answer(tmp_path, tiny_model, documents, settings(), name="whole")[0]


def test_an_answer_that_ends_by_itself_is_told_from_one_that_was_cut_off(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    teacher = answers._Teacher(None, tokenizer, None, frozenset({tokenizer.eos_token_id}))
    asked = answers.Prompt("set/1", "hi", 1)
    letters = tokenizer("ok", add_special_tokens=False)["input_ids"]
    ended = answers._answer(teacher, asked, [*letters, tokenizer.eos_token_id, tokenizer.pad_token_id])
    assert (ended.text, ended.num_tokens, ended.ended) == ("ok", len(letters) + 1, True)
    cut_off = answers._answer(teacher, asked, letters)
    assert (cut_off.text, cut_off.num_tokens, cut_off.ended) == ("ok", len(letters), False)


def test_a_prompt_that_leaves_no_room_is_left_out_and_counted(tmp_path, tiny_model, documents, caplog):
    write_documents(documents / "held_out.jsonl", [prompt("set/20", "long " * 60)])
    found, facts = answer(tmp_path, tiny_model, documents, settings())
    assert found["held_out"] == []
    assert facts["too_long"] == 1
    assert "1 of 7 prompts leave the teacher's context no room for 6 tokens" in caplog.text


def test_prompts_of_which_none_leaves_room_are_refused_before_the_model_is_loaded(
    tmp_path, tiny_model, documents, monkeypatch
):
    monkeypatch.setattr(answers, "load_model", lambda *_, **__: pytest.fail("the teacher was loaded"))
    with pytest.raises(InputError, match=r"all \d+ prompts are too long: the shortest takes \d+ tokens"):
        answer(tmp_path, tiny_model, documents, settings(longest=10_000))


def test_prompts_that_are_left_out_are_told_of_before_any_is_answered(
    tmp_path, tiny_model, documents, caplog, monkeypatch
):
    write_documents(documents / "held_out.jsonl", [prompt("set/20", "long " * 60)])
    told = []

    def load(*_, **__):
        told.append(caplog.text)
        raise KeyboardInterrupt

    monkeypatch.setattr(answers, "load_model", load)
    with pytest.raises(KeyboardInterrupt):
        answer(tmp_path, tiny_model, documents, settings())
    assert "1 of 7 prompts leave the teacher's context no room" in told[0]


def test_answers_that_never_end_are_told_while_the_run_goes_on(tmp_path, tiny_model, documents, caplog, monkeypatch):
    shown = []
    monkeypatch.setattr(answers.progress, "step", lambda what, done, total, figures: shown.append(figures["ended"]))
    monkeypatch.setattr(answers, "end_tokens", lambda model, tokenizer: frozenset({tokenizer.pad_token_id}))
    _, facts = answer(tmp_path, tiny_model, documents, settings())
    assert shown and set(shown) == {0.0} and facts["ended_share"] == 0
    assert "none of 6 answers ended within 6 tokens" in caplog.text


def test_bf16_answers_too(tmp_path, tiny_model, documents):
    found, _ = answer(tmp_path, tiny_model, documents, settings(precision="bf16"))
    assert len(found["train"]) == 5


def test_without_prompts_no_model_is_needed(tmp_path, documents):
    for split in ("train", "validation"):
        write_documents(documents / f"{split}.jsonl", [Document("text/0", "text", "plain")])
    found, facts = answer(tmp_path, tmp_path / "absent", documents, settings())
    assert found == {"train": [], "validation": [], "held_out": []}
    assert facts["answers"] == 0


def test_a_model_without_a_chat_template_is_refused(tmp_path, tiny_model, documents):
    base = tmp_path / "base-model"
    shutil.copytree(tiny_model, base, ignore=shutil.ignore_patterns("chat_template.jinja"))
    with pytest.raises(InputError, match="base-model has no chat template"):
        answer(tmp_path, base, documents, settings())


def test_a_prompt_that_is_seen_twice_is_answered_once(tmp_path, tiny_model, documents):
    once, _ = answer(tmp_path, tiny_model, documents, settings(), "once")
    path = documents / "train.jsonl"
    path.write_text(path.read_text() * 2)
    twice, facts = answer(tmp_path, tiny_model, documents, settings(), "twice")
    assert twice == once
    assert facts["prompts"] == len({document.id for split in once.values() for document in split})
