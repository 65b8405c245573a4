import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import processors

from stillhouse.data.dataset import read_split
from stillhouse.data.document import Document, LossTask, prompt, write_documents
from stillhouse.data.encode import EncodeSettings, encode_documents
from stillhouse.errors import InputError
from stillhouse.models.tokenizer import open_tokenizer


def settings(train=1000, validation=1000, held_out=1000, length=16):
    return EncodeSettings(
        train_tokens=train, validation_tokens=validation, held_out_tokens=held_out, sequence_length=length
    )


@pytest.fixture
def encode(tmp_path, byte_model):
    """Encode the given training documents with the byte model; validation has one text, held-out two."""

    def run(train, budgets=None, answers=None, responses=None, others=None):
        for folder in ("documents", "answers", "responses", "encoded"):
            (tmp_path / folder).mkdir(exist_ok=True)
        inputs = {"teacher": byte_model, "documents": tmp_path / "documents"}
        other = [Document("mine/98", "text", "other"), Document("mine/99", "text", "another")]
        for name, documents in (("train", train), ("validation", other[:1]), ("held_out", other)):
            write_documents(tmp_path / "documents" / f"{name}.jsonl", documents)
            if answers is not None:
                inputs["answers"] = tmp_path / "answers"
                write_documents(inputs["answers"] / f"{name}.jsonl", answers if name == "train" else [])
        if responses is not None:
            inputs["responses"] = tmp_path / "responses"
            write_documents(inputs["responses"] / "train.jsonl", responses)
        inputs |= others or {}
        encode_documents(budgets or settings(), inputs, tmp_path / "encoded")
        return read_split(tmp_path / "encoded", "train"), json.loads((tmp_path / "encoded/facts.json").read_text())

    return run


def texts(*contents):
    return [Document(f"mine/{number}", "text", content) for number, content in enumerate(contents)]


def test_documents_lie_end_to_end_with_their_first_token_no_target(encode):
    split, facts = encode(texts("abc", "defg"))
    assert split.starts.tolist() == [0, 3, 7]
    assert split.counted.tolist() == [False, True, True, False, True, True, True]
    assert split.num_bytes.tolist() == [2, 3]
    assert split.names == ("mine/0", "mine/1")
    assert facts["train"]["sets"] == {
        "mine": {"documents": 2, "pieces": 2, "tokens": 7, "counted_tokens": 5, "bytes": 5}
    }


def test_a_long_document_is_cut_into_pieces_of_its_name(encode):
    split, facts = encode(texts("x" * 40))
    assert np.diff(split.starts).tolist() == [16, 16, 8]
    assert split.names == ("mine/0",) * 3
    assert not split.counted[split.starts[:-1]].any()
    assert (facts["train"]["documents"], facts["train"]["pieces"]) == (1, 3)


@pytest.fixture
def opening_model(byte_model, tmp_path):
    """The byte model, whose tokenizer puts a special token before every text, as Llama's and Gemma's do."""
    folder = tmp_path / "opening"
    shutil.copytree(byte_model, folder)
    tokenizer = open_tokenizer(byte_model)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_every_piece_of_a_text_stands_behind_the_special_token_of_the_tokenizer(encode, opening_model):
    """A model that was trained behind it is another one without."""
    turns = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"})
    documents = [*texts("x" * 40, "<|im_start|>abc"), Document("chat/0", "messages", turns)]
    split, facts = encode(documents, settings(length=100), others={"teacher": opening_model})
    start = open_tokenizer(opening_model).bos_token_id
    parts = [slice(one, other) for one, other in pairwise(split.starts.tolist())]
    assert [split.ids[part][0] for part in parts] == [start] * 3
    # Once: neither a text that spells it nor a chat template gets another.
    assert [int((split.ids[part] == start).sum()) for part in parts] == [1, 1, 2]
    assert split.counted[parts[0]].tolist() == [False] + [True] * 40 and split.num_bytes[0] == 40
    assert not split.counted[parts[1]][0] and split.counted[parts[1]][1:].all()
    cut, _ = encode(texts("x" * 40), others={"teacher": opening_model})
    assert np.diff(cut.starts).tolist() == [16, 16, 11] and (cut.ids[cut.starts[:-1]] == start).all()
    # All of the text is predicted, where without it the first token of each piece is not.
    assert cut.num_targets == 40 == cut.num_bytes.sum()


def test_the_budget_is_used_up_and_not_passed(encode):
    split, _ = encode(texts("abcdefgh", "ijklmnop", "qrstuvwx"), settings(train=11))
    assert np.diff(split.starts).tolist() == [8, 3]


def test_a_conversation_that_is_cut_into_pieces_is_told(encode, caplog):
    turns = ({"role": "user", "content": "q" * 40}, {"role": "assistant", "content": "yes"})
    asked = Document("chat/0", "messages", turns)
    encode([asked, *texts("x" * 40)], settings(length=100))
    assert not caplog.text
    encode([asked, *texts("x" * 40)], settings(length=30))
    assert "1 conversations are longer than data.sequence_length 30, chat/0 among them" in caplog.text


def test_a_prompt_takes_part_only_once_it_is_answered(encode):
    prompts = [prompt("nq/0", "hi"), prompt("nq/1", "ho")]
    turns = (*prompts[1].messages, {"role": "assistant", "content": "yes"})
    answered = [Document("nq/1", "messages", turns, ended=False)]
    split, facts = encode([*texts("abc"), *prompts], settings(length=100), answered)
    assert split.names == ("mine/0", "nq/1")
    assert facts["train"]["sets"]["nq"]["counted_tokens"] == len("yes")


def test_a_piece_without_a_target_is_left_out(encode):
    turns = ({"role": "user", "content": "q" * 40}, {"role": "assistant", "content": "yes"})
    split, _ = encode([Document("mine/0", "messages", turns)])
    assert split.num_documents == 1
    assert split.num_targets == len("yes") + 1


def test_a_split_with_nothing_to_learn_from_is_refused(encode):
    with pytest.raises(InputError, match="split train holds nothing to learn from.*larger train_tokens"):
        encode(texts("a", "b"))


def test_one_held_out_document_gives_no_interval_and_is_refused_before_anything_is_trained(encode):
    with pytest.raises(InputError, match="held_out holds 1 document within 5 tokens and needs 2"):
        encode(texts("abc"), settings(held_out=5))


def turns(number, said, task=None, name="reasoning", weight=None):
    asked = ({"role": "user", "content": "q"}, {"role": "assistant", "content": said})
    return Document(f"{name}/{number}", "messages", asked, task=task, weight=weight)


def test_a_task_has_its_share_of_its_set_s_loss_whatever_its_length(encode):
    answer, rationale = LossTask("answer", 0.75), LossTask("rationale", 0.25)
    documents = [turns(0, "7", answer), turns(0, "a long way to 7", rationale), turns(1, "12", answer)]
    split, _ = encode([*documents, *texts("plain text")], settings(length=100))
    targets = np.add.reduceat(split.counted.astype(int), split.starts[:-1])
    weighed = targets * split.weights
    assert weighed[[0, 2]].sum() / weighed[:3].sum() == pytest.approx(0.75)
    # Beside other sets it weighs what its targets weigh.
    assert weighed[:3].sum() == pytest.approx(targets[:3].sum())
    assert split.weights[3] == 1


def test_weights_are_of_training_alone_and_without_tasks_there_is_no_file_of_them(encode, tmp_path):
    split, _ = encode(texts("abc", "defg"))
    assert split.weights is None
    assert not list((tmp_path / "encoded").rglob("weights.npy"))
    assert "task" not in (tmp_path / "documents" / "train.jsonl").read_text()
    encode([turns(0, "7", LossTask("answer", 0.5))], settings(length=100))
    assert [path.parent.name for path in (tmp_path / "encoded").rglob("weights.npy")] == ["train"]
    assert read_split(tmp_path / "encoded", "train").weights.tolist() == [1.0]


def test_several_responses_stand_in_the_place_of_a_training_prompt_s_answer(encode):
    answers = [turns(0, "the greedy one", name="nq"), turns(1, "another", name="nq")]
    sampled = [turns(0, "a", name="nq"), turns(0, "bcd", name="nq")]
    asked = [prompt("nq/0", "q"), prompt("nq/1", "q")]
    split, _ = encode(asked, settings(length=100), answers=answers, responses=sampled)
    # A prompt that has no response left is not trained on.
    assert split.names == ("nq/0", "nq/0")
    assert np.add.reduceat(split.counted.astype(int), split.starts[:-1]).tolist() == [1 + 1, 3 + 1]
    greedy, _ = encode(asked, settings(length=100), answers=answers)
    assert greedy.names == ("nq/0", "nq/1")


def test_a_document_counts_by_its_weight_beside_the_others_of_its_set(encode):
    documents = [turns(0, "7", weight=0.5), turns(0, "a long way to 7", weight=0.5), turns(1, "12", weight=1.0)]
    split, _ = encode([*documents, *texts("plain text")], settings(length=100))
    targets = np.add.reduceat(split.counted.astype(int), split.starts[:-1])
    assert split.weights[2] == pytest.approx(2 * split.weights[0]) and split.weights[1] == split.weights[0]
    assert (targets * split.weights)[:3].sum() == pytest.approx(targets[:3].sum())
    assert split.weights[3] == 1
    nothing, _ = encode([turns(0, "7", weight=0.0), turns(0, "8", weight=0.0)], settings(length=100))
    assert nothing.weights.tolist() == [1, 1]


def test_what_every_teacher_said_is_encoded(encode, tmp_path):
    def other(name, *documents):
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "validation", "held_out"):
            write_documents(folder / f"{split}.jsonl", documents if split == "train" else [])
        return {name: folder}

    asked = [prompt("nq/0", "q"), prompt("code/0", "q"), prompt("law/0", "q")]
    own, second = [turns(0, "own", name="nq")], other("answers_1", turns(0, "other", name="code"))
    split, _ = encode(asked, settings(length=100), own, others=second)
    assert split.names == ("nq/0", "code/0")
    # Several responses stand in the place of the other teacher's answers too.
    several = second | other("responses_1", turns(0, "a", name="code"), turns(0, "b", name="code"))
    split, _ = encode(asked, settings(length=100), own, responses=own, others=several)
    assert split.names == ("nq/0", "code/0", "code/0")
